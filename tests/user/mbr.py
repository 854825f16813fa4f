"""A decoding strategy as a user writes it in a project of their own.

Minimum Bayes risk decoding: draw some texts and take the one most like the others (Eikema & Aziz
2020), here by the tokens that two texts share.
"""

from collections import Counter

from seqlearn.decoding import Sampling
from seqlearn.instrumentation import decoding_step, end_decoding


class MinimumBayesRisk:
    def __init__(self, num_samples):
        self.rows_per_source = self.num_seeds = num_samples
        self.sampling = Sampling(num_return_sequences=num_samples)

    def __call__(self, next_token, prefix, memory, *, max_new_tokens, seeds):
        drawn, ends = self.sampling.sample(
            next_token, prefix, memory, max_new_tokens=max_new_tokens, seeds=seeds
        )
        ranked = [
            sorted(zip(texts, paths, strict=True), key=lambda pair: -likeness(pair[0], texts))
            for texts, paths in zip(drawn, ends, strict=True)
        ]
        best = [[*start, *row[0][0]] for start, row in zip(prefix.tolist(), ranked, strict=True)]
        end_decoding([[path for _, path in row] for row in ranked], best)  # for recordings
        return [[text for text, _ in row] for row in ranked]


class SecondBest:
    """The second most probable token first, then the most probable ones; with no loop of ours."""

    rows_per_source, num_seeds = 1, 0

    def __call__(self, next_token, prefix, memory, *, max_new_tokens, seeds):
        decoding_step(None)  # for recordings: each row continues itself
        logits, state = next_token.logits(prefix, memory)
        tokens = logits.topk(2).indices[:, 1:]
        generated = [tokens]
        for _ in range(max_new_tokens - 1):
            decoding_step(None)
            logits, state = next_token.logits(tokens, memory, state)
            tokens = logits.argmax(-1, keepdim=True)
            generated.append(tokens)
        rows = [[token.item() for token in row] for row in zip(*generated, strict=True)]
        texts = [row[: row.index(3)] if 3 in row else row for row in rows]
        last = [[(min(len(text), max_new_tokens - 1), n)] for n, text in enumerate(texts)]
        whole = [[*start, *text] for start, text in zip(prefix.tolist(), texts, strict=True)]
        end_decoding(last, whole)
        return [[text] for text in texts]


def likeness(text, texts):
    return sum((Counter(text) & Counter(other)).total() for other in texts) / (1 + len(text))
