"""What the runtime's speed is, as ratios between things that were measured in one run: `make bench`."""
