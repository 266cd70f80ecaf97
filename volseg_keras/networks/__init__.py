"""The nine networks: layers, blocks, losses, Keras metrics, and the graph that predicts."""
