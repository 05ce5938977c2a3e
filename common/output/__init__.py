"""What comes out: scores, tables, pictures. Knows tensors and rows, no training."""
