"""What the science works on: items with their crowd, images and features, the readers of users' files."""
