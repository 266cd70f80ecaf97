"""Published models and exports."""
