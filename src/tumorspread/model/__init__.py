"""The U-Net: its layers, its losses, its training, its weights file and its sliding window."""
