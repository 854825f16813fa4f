"""Record activations: attention weights, hidden states and gates."""
