# backward() adds to .grad and never overwrites: after two passes the gradients have summed up.
# Each pass has its own graph; both end in the same leaf. --step 2 takes the second.
import torch

x = torch.tensor(2.0, requires_grad=True)

y = 3 * x
y.backward()
print(f"after y: {x.grad}")

z = x**2
z.backward()
print(f"after z: {x.grad}, that is 3 + 4")

x.grad.zero_()
print(f"after zero_(): {x.grad}")
