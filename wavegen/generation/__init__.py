"""From a trained model to sound and images: one stream, many streams, live, and images row by row."""
