# Two losses share a part of the graph: "Trying to backward through the graph a second time".
# The first backward() frees what exp() has saved. Run with --step 2.
import torch

w = torch.ones(3, requires_grad=True)

shared = w.exp()
first = shared.sum()
second = shared.square().sum()
first.backward()
second.backward()
