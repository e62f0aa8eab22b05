"""Targets and losses for segmenting electron microscopy, compared under one protocol.

Each module is one room; imports point one way: datasets, phantom -> targets, losses -> objectives -> training,
inference -> figures. Nothing is imported here, so that a bare image with torch, numpy and scipy can train.
"""
