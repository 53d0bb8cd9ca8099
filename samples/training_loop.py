# One weight fitted to y = 2 * x by hand in 100 epochs: forward, backward, step, reset.
# Every epoch builds a new graph of the same shape, freed in backward; --step N takes the N-th.
import torch

x = torch.tensor([1.0, 2.0, 3.0, 4.0])
y = 2 * x
w = torch.tensor(0.0, requires_grad=True)

for epoch in range(100):
    prediction = w * x
    loss = ((prediction - y) ** 2).mean()
    loss.backward()
    with torch.no_grad():
        w -= 0.01 * w.grad
    w.grad.zero_()
    if epoch % 10 == 0:
        print(f"epoch {epoch}: w = {w.item():.3f}, loss = {loss.item():.6f}")

print(f"w = {w.item():.3f}")
