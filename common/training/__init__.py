"""The one training loop: options, device, learners and their stages, the run's folder."""
