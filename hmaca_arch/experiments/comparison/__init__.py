"""`basicsr compare`: networks and classical methods on the same images."""
