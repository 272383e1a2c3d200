"""The paper's tables as a matrix of experiments.

`plan` says what is in it, `runner` and `job` run it, `results` and `report` show the figures.
"""
