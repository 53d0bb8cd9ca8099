# A torch.autograd.Function is one backward op, whatever its forward computes.
# Its name is the class's with Backward appended, and what ctx saved counts as saved tensors.
import torch


class Swish(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        gate = torch.sigmoid(x)
        ctx.save_for_backward(x, gate)
        return x * gate

    @staticmethod
    def backward(ctx, gradient):
        x, gate = ctx.saved_tensors
        return gradient * gate * (1 + x * (1 - gate))


torch.manual_seed(0)
x = torch.randn(8, requires_grad=True)

loss = Swish.apply(x).sum()
loss.backward()

print(f"gradient: {x.grad}")
