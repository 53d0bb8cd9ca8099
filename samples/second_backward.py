# backward() frees what the ops saved, so a second pass through the same graph raises.
# --step 2 shows the graph as the second pass finds it: whole, but its saved tensors freed.
import torch

x = torch.tensor(3.0, requires_grad=True)

y = x**2
y.backward()
print(f"dy/dx = {x.grad}")

y.backward()
