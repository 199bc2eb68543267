"""The training loop: phases, batches, augmentation, learning-rate schedule, several processes.

May import every other room.
"""
