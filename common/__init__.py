"""What every data set shares: crowd labels, losses, networks, methods, the training loop and what a run leaves."""
