"""Networks and classical methods on the same pictures: figures, intervals, cost, and a sheet of
pictures (`basicsr compare`).
"""
