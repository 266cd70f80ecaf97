"""Steps after prediction: clean label maps, split instances, and measure them."""
