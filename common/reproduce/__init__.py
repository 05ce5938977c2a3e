"""The papers' tables, from many runs, and the verdicts on their claims. Knows all of common/; nothing below knows it."""
