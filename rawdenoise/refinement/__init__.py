"""What follows the network: levels and points that it lost are given back, luminance and colour weighed."""
