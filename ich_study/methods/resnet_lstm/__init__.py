"""ResNet-LSTM: class activation maps, K-means pseudo-masks, 3-D U-Net."""
