"""Models that ship with wavegen, one .safetensors file each; `wavegen models list` shows them."""
