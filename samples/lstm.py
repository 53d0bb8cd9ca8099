# An LSTM cell called 500 times, or as often as its argument says: one long graph of equal steps.
# The same four parameters are used by all steps; drawn, the steps are one block, x500.
import sys

import torch
from torch import nn


class Averager(nn.Module):
    """Reads a sequence of numbers, one a step, and predicts their mean."""

    def __init__(self, hidden=16):
        super().__init__()
        self.cell = nn.LSTMCell(1, hidden)
        self.head = nn.Linear(hidden, 1)

    def forward(self, sequence):
        state = None
        for step in sequence:
            state = self.cell(step, state)
        return self.head(state[0])


if __name__ == "__main__":
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    torch.manual_seed(0)
    model = Averager()
    sequence = torch.rand(steps, 4, 1)
    loss = nn.functional.mse_loss(model(sequence), sequence.mean(dim=0))
    loss.backward()
    print(f"loss = {loss.item():.3f}")
