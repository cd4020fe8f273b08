"""How good a trained model is, in bits and in distances from recordings."""
