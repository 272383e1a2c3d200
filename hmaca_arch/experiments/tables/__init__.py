"""The paper's tables as a matrix of experiments: what is in it (`plan`), running it (`runner`),
what came of it (`results`, `report`).
"""
