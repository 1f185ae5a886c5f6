"""Offline training and quantisation of the example networks."""
