"""What follows prediction: clean label maps, instances, and their measures."""
