# Nothing is recorded under no_grad: of y3 = y1 + y2 only the way through y1 is in the graph.
# The value of y3 is right, its gradient is that of y1 alone.
import torch

x = torch.tensor(1.0, requires_grad=True)

y1 = x**2
with torch.no_grad():
    y2 = x**3
y3 = y1 + y2
y3.backward()

print(f"y3 = {y3.item()}, dy3/dx = {x.grad}: 2, where x**2 + x**3 would give 5")
