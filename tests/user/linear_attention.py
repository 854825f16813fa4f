"""Linear attention (Katharopoulos et al. 2020, equations 5 to 7) in the stock Transformer.

V'_i = φ(Q_i)ᵀ Σ_j φ(K_j) V_jᵀ / φ(Q_i)ᵀ Σ_j φ(K_j),    φ(x) = elu(x) + 1
"""

from torch import nn
from torch.nn.functional import elu

import seqlearn as sl


class LinearAttention(nn.Module):
    def __init__(self, d_model, num_heads):
        super().__init__()
        self.num_heads = num_heads
        self.project = nn.Linear(d_model, 3 * d_model)
        self.output = nn.Linear(d_model, d_model)

    def forward(self, inputs, mask):
        heads = self.project(inputs).unflatten(-1, (3, self.num_heads, -1))
        query, key, value = heads.permute(2, 0, 3, 1, 4)  # each batch heads time d_head
        query, key = elu(query) + 1, (elu(key) + 1) * mask[:, None, :, None]
        context = query @ (key.transpose(-2, -1) @ value)
        total = query @ key.sum(-2)[..., None]
        return self.output((context / total).transpose(1, 2).flatten(2))


class LinearTransformer(sl.SequenceModule):
    def __init__(self, spec, d_model: int = 128, num_layers: int = 2, num_heads: int = 4, **base):
        super().__init__(spec, d_model=d_model, **base)
        sizes = {"d_model": d_model, "dropout": 0.1}

        def feedforward():
            return sl.nn.FeedForwardBlock(d_model, 4 * d_model, dropout=0.1)

        def attention():
            return sl.nn.MultiHeadAttention(d_model, num_heads, dropout=0.1)

        linear = [LinearAttention(d_model, num_heads) for _ in range(num_layers)]
        layers = [sl.nn.EncoderLayer(each, feedforward(), **sizes) for each in linear]
        self.encoder = sl.nn.TransformerEncoder(sl.nn.SinusoidalPositions(), layers)
        softmax = [(attention(), attention()) for _ in range(num_layers)]
        layers = [sl.nn.DecoderLayer(*pair, feedforward(), **sizes) for pair in softmax]
        self.decoder = sl.nn.TransformerDecoder(sl.nn.SinusoidalPositions(), layers)
