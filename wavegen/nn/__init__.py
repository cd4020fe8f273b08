"""The causal core: convolutions with a past, and the gated stacks built from them. It has never heard of audio."""
