"""Labels from a crowd: storage, label models, and what is known of the annotators."""
