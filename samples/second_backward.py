# backward() frees what the ops saved, so a second pass through the same graph raises.
# --step 2 runs into that error; with -o the graph is drawn all the same, its saved tensors freed.
import torch

x = torch.tensor(3.0, requires_grad=True)

y = x**2
y.backward()
print(f"dy/dx = {x.grad}")

y.backward()
