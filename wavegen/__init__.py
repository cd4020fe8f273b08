"""wavegen: WaveNets that train on any folder of recordings and generate sound, sample by sample."""

__version__ = "0.1.0"
