"""Reports: findings in, text out, for people and for continuous integration."""
