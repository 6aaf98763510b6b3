"""Speed as ratios: each contender against a yardstick, in turn, in one run. See `make bench`."""
