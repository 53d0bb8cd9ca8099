"""Programs whose loss or gradient is NaN or infinite, and what is to blame.

The line to blame ends in `# here`.
"""

from __future__ import annotations

from typing import NamedTuple


class Planted(NamedTuple):
    """A program, the op to blame by autograd's name, and words of the message and the hint."""

    program: str
    op: str
    says: tuple[str, ...]
    hint: str = ""
    step: int = 1
    """The backward call that is looked at."""


PLANTED: dict[str, Planted] = {
    "zero divided by zero": Planted(
        """
        x = torch.tensor([0.0, 1.0], requires_grad=True)
        y = 2 * x
        z = x / y  # here
        loss = z.sum()
        loss.backward()
        """,
        "DivBackward0",
        ("loss is NaN", "makes NaN in 1 of 2 elements of finite numbers", "other: 0 to 2"),
        "divides by 0",
    ),
    "one divided by zero": Planted(
        """
        x = torch.tensor([0.0, 1.0, 2.0], requires_grad=True)
        loss = (1 / x).sum()  # here
        loss.backward()
        """,
        "ReciprocalBackward0",
        (
            "loss is inf",
            "ReciprocalBackward0 makes inf of finite numbers (self: 0 to 2)",
            "so is the gradient of 1 of 1 leaf",
        ),
        "divides by 0",
    ),
    "the square root at zero": Planted(
        """
        x = torch.tensor([0.0, 1.0, 2.0], requires_grad=True)
        y = x.sqrt()  # here
        loss = y.sum()
        loss.backward()
        """,
        "SqrtBackward0",
        (
            "SqrtBackward0 (y) turns a finite gradient into inf in 1 of 3 elements",
            "grad self = grad / (2 * result) (grad: 1; saved result: 0 to 1.41)",
        ),
        "slope of the root is infinite at 0",
    ),
    "the square root of a negative number": Planted(
        """
        x = torch.tensor([-1.0, 1.0], requires_grad=True)
        loss = (x.sqrt() * 3).mean()  # here
        loss.backward()
        """,
        "SqrtBackward0",
        ("loss is NaN", "makes NaN in 1 of 2 elements of finite numbers"),
        "negative number",
    ),
    "the logarithm of zero": Planted(
        """
        p = torch.tensor([0.0, 0.5, 2.0], requires_grad=True)
        loss = -(p.log()).mean()  # here
        loss.backward()
        """,
        "LogBackward0",
        ("loss is inf", "makes -inf in 1 of 3 elements", "self: 0 to 2"),
        "logarithm of 0",
    ),
    "infinity minus infinity": Planted(
        """
        x = torch.tensor([0.0, 1.0], requires_grad=True)
        a = x.log()  # here
        y = a - a.detach().clone() * 1
        z = a - a.mul(1)
        loss = z.sum()
        loss.backward()
        """,
        "LogBackward0",
        ("loss is NaN", "makes -inf in 1 of 2", "of which SubBackward0 (z) at planted.py:5 makes"),
        "logarithm of 0",
    ),
    "an exponential that overflows": Planted(
        """
        x = torch.tensor([1.0, 100.0], requires_grad=True)
        y = torch.exp(x)  # here
        loss = y.sum() / y.max()
        loss.backward()
        """,
        "ExpBackward0",
        ("loss is NaN", "ExpBackward0 (y) makes inf in 1 of 2 elements", "makes NaN"),
        "exp overflows above 88.7",
    ),
    "half precision overflows in the forward pass": Planted(
        """
        x = torch.full((4,), 300.0, dtype=torch.float16, requires_grad=True)
        y = x * 2
        z = y * x  # here
        loss = z.float().mean()
        loss.backward()
        """,
        "MulBackward0",
        ("loss is inf", "MulBackward0 (z) makes inf in all 4 elements"),
        "float16 ends at 65,504",
    ),
    "half precision overflows in the backward pass alone": Planted(
        """
        x = torch.full((4,), 0.001, dtype=torch.float16, requires_grad=True)
        y = x * 300  # here
        z = y * 300
        loss = z.float().sum()
        loss.backward()
        """,
        "MulBackward0",
        ("MulBackward0 (y) turns a finite gradient into inf in all 4 elements", "grad: 300"),
        "float16 ends at 65,504",
    ),
    "half precision gradients that add up to too much": Planted(
        """
        x = torch.full((4,), 0.001, dtype=torch.float16, requires_grad=True)
        y = x * 1  # here
        loss = (y * 40000).float().sum() + (y * 30000).float().sum()
        loss.backward()
        """,
        "MulBackward0",
        ("Finite gradients of MulBackward0 (y) add up to inf in all 4 elements",),
        "float16 ends at 65,504",
    ),
    "a user's function whose backward divides by zero": Planted(
        """
        class Root(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                ctx.save_for_backward(x)
                return x.abs().sqrt()
            @staticmethod
            def backward(ctx, gradient):
                x, = ctx.saved_tensors
                return gradient / (2 * x.abs().sqrt())
        x = torch.tensor([0.0, 4.0], requires_grad=True)
        y = Root.apply(x)  # here
        loss = y.sum()
        loss.backward()
        """,
        "RootBackward",
        ("RootBackward (y) turns a finite gradient into inf in 1 of 2 elements", "grad: 1"),
    ),
    "a user's function whose forward divides by zero": Planted(
        """
        class Inverse(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                return x / x
            @staticmethod
            def backward(ctx, gradient):
                return gradient
        x = torch.tensor([0.0, 4.0], requires_grad=True)
        loss = (2 * Inverse.apply(x)).sum()  # here
        loss.backward()
        """,
        "InverseBackward",
        ("loss is NaN", "InverseBackward makes NaN in 1 of 2 elements of finite numbers"),
    ),
    "inside a block that is repeated": Planted(
        """
        from torch import nn
        class Block(nn.Module):
            def __init__(self, shift):
                super().__init__()
                self.fc, self.shift = nn.Linear(4, 4), shift
                nn.init.ones_(self.fc.weight)
                nn.init.constant_(self.fc.bias, shift)
            def forward(self, x):
                h = self.fc(x)
                return x + (h - h.detach() + self.shift).sqrt()  # here
        net = nn.Sequential(*(Block(0.0 if k == 3 else 1.0) for k in range(6)))
        loss = net(torch.ones(2, 4)).mean()
        loss.backward()
        """,
        "SqrtBackward0",
        ("SqrtBackward0 in net.3 turns a finite gradient into inf in all 8 elements",),
        "slope of the root",
    ),
    "zero to a negative power": Planted(
        """
        x = torch.tensor([0.0, 2.0], requires_grad=True)
        y = x ** -1  # here
        loss = y.mean()
        loss.backward()
        """,
        "PowBackward0",
        ("loss is inf", "PowBackward0 (y) makes inf in 1 of 2"),
        "At 0 a power is infinite",
    ),
    "the slope of zero to the power one half": Planted(
        """
        x = torch.tensor([0.0, 2.0], requires_grad=True)
        loss = (x ** 0.5).mean()  # here
        loss.backward()
        """,
        "PowBackward0",
        ("turns a finite gradient into inf in 1 of 2", "grad * exponent * self^(exponent - 1)"),
        "At 0 a power is infinite",
    ),
    "a vector of length zero that is normalised": Planted(
        """
        x = torch.tensor([[3.0, 4.0], [0.0, 0.0]], requires_grad=True)
        length = x.norm(dim=1, keepdim=True)
        unit = x / length  # here
        loss = unit.sum()
        loss.backward()
        """,
        "DivBackward0",
        ("loss is NaN", "DivBackward0 (unit) makes NaN in 2 of 4", "other: 0 to 5"),
        "divides by 0",
    ),
    "the standard deviation of one element": Planted(
        """
        x = torch.tensor([3.0], requires_grad=True)
        spread = x.std()  # here
        loss = spread + 1
        loss.backward()
        """,
        "StdBackward0",
        ("loss is NaN", "StdBackward0 (spread) makes NaN of finite numbers"),
        "One element has no standard deviation",
    ),
    "a softmax over nothing but masked scores": Planted(
        """
        scores = torch.randn(2, 3, requires_grad=True)
        mask = torch.tensor([[False, True, False], [True, True, True]])
        masked = scores.masked_fill(mask, float("-inf"))
        weights = masked.softmax(-1)  # here
        loss = weights.square().sum()
        loss.backward()
        """,
        "SoftmaxBackward0",
        ("loss is NaN", "makes NaN in 3 of 6 elements of -inf from MaskedFillBackward0 (masked)"),
        "leave something unmasked in every row",
    ),
    "the arc cosine at one": Planted(
        """
        a = torch.tensor([1.0, 0.5], requires_grad=True)
        angle = torch.acos(a)  # here
        loss = angle.sum()
        loss.backward()
        """,
        "AcosBackward0",
        ("AcosBackward0 (angle) turns a finite gradient into -inf in 1 of 2", "self: 0.5 to 1"),
        "slope is infinite at -1 and 1",
    ),
    "the branch that torch.where does not choose": Planted(
        """
        x = torch.tensor([0.0, 4.0], requires_grad=True)
        root = x.sqrt()  # here
        y = torch.where(x > 0, root, 0.0)
        loss = y.sum()
        loss.backward()
        """,
        "SqrtBackward0",
        ("SqrtBackward0 (root) turns a finite gradient into NaN in 1 of 2",),
        "torch.where differentiates both branches",
    ),
    "a mask that is multiplied": Planted(
        """
        x = torch.tensor([0.0, 4.0], requires_grad=True)
        logs = x.clamp(min=0).sqrt()  # here
        loss = (logs * torch.tensor([0.0, 1.0])).sum()
        loss.backward()
        """,
        "SqrtBackward0",
        ("SqrtBackward0 (logs) turns a finite gradient into NaN in 1 of 2",),
        "even a gradient of 0 becomes NaN there",
    ),
    "logits of the cross entropy that overflow": Planted(
        """
        from torch import nn
        from torch.nn import functional
        head = nn.Linear(3, 4).half()
        x = torch.full((2, 3), 60000.0, dtype=torch.float16)
        logits = head(x) * 100  # here
        loss = functional.cross_entropy(logits.float(), torch.tensor([0, 1]))
        loss.backward()
        """,
        "MulBackward0",
        ("loss is NaN", "MulBackward0 (logits) makes"),
        "float16 ends at 65,504",
    ),
    "an input that holds NaN": Planted(
        """
        from torch import nn
        net = nn.Linear(3, 2)
        x = torch.ones(4, 3)
        x[1, 2] = float("nan")
        y = net(x)  # here
        loss = y.mean()
        loss.backward()
        """,
        "AddmmBackward0",
        (
            'loss is NaN: x[1, 2] = float("nan") (planted.py:5) gave NaN',
            "and it goes into AddmmBackward0 (y) in net",
        ),
    ),
    "a parameter that holds NaN": Planted(
        """
        from torch import nn
        net = nn.Linear(3, 2)
        net.weight.data[0, 0] = float("nan")
        y = net(torch.ones(4, 3)) * 2  # here
        loss = y.mean()
        loss.backward()
        """,
        "AccumulateGrad",
        ("loss is NaN: net.weight holds NaN in 1 of 6 elements before the forward pass",),
    ),
    "a buffer that holds NaN": Planted(
        """
        from torch import nn
        norm = nn.BatchNorm1d(3).eval()
        norm.running_var[1] = float("nan")
        y = norm(torch.ones(4, 3))  # here
        loss = y.mean()
        loss.backward()
        """,
        "NativeBatchNormBackward0",
        ("loss is NaN", "NaN", "it goes into NativeBatchNormBackward0 (y) in norm"),
    ),
    "NaN that was made before there is a graph": Planted(
        """
        from torch import nn
        net = nn.Linear(3, 2)
        x = torch.zeros(4, 3)
        with torch.no_grad():
            x = x / x.std()
        y = net(x)  # here
        loss = y.mean()
        loss.backward()
        """,
        "AddmmBackward0",
        ("loss is NaN", "x / x.std()", "planted.py:6", "goes into AddmmBackward0 (y) in net"),
    ),
    "an embedding with a row of NaN": Planted(
        """
        from torch import nn
        words = nn.Embedding(5, 3)
        words.weight.data[2] = float("nan")
        y = words(torch.tensor([1, 2]))  # here
        loss = y.sum()
        loss.backward()
        """,
        "AccumulateGrad",
        ("loss is NaN: words.weight holds NaN in 3 of 15 elements",),
    ),
    "an infinity that only the gradient meets": Planted(
        """
        x = torch.tensor([[0.0, 0.0], [1.0, 2.0]], requires_grad=True)
        w = torch.ones(2, requires_grad=True)
        scale = x.square().mean(-1, keepdim=True).rsqrt()  # here
        y = x * scale * w
        loss = y[1].sum()
        loss.backward()
        """,
        "RsqrtBackward0",
        (
            "RsqrtBackward0 (scale) makes inf in 1 of 2 elements of finite numbers (self: 0 to ",
            ", and MulBackward0 (y) at planted.py:5 then turns a finite gradient into one that is "
            "not.",
        ),
        "1 / sqrt(0) is infinite",
    ),
    "a softmax over nothing that the root leaves out": Planted(
        """
        x = torch.ones(2, 3, requires_grad=True)
        mask = torch.tensor([[float("-inf")] * 3, [0, float("-inf"), 0]])
        p = (x + mask).softmax(-1)  # here
        loss = p[1].square().sum()
        loss.backward()
        """,
        "SoftmaxBackward0",
        ("SoftmaxBackward0 (p) turns a finite gradient into NaN in 3 of 6 elements",),
        "A softmax over nothing but -inf",
    ),
    "the mean of nothing": Planted(
        """
        x = torch.ones(3, requires_grad=True)
        loss = (2 * x)[x > 5].mean()  # here
        loss.backward()
        """,
        "MeanBackward0",
        ("loss is NaN: MeanBackward0 (loss) makes NaN of no elements.",),
        "The mean of nothing",
    ),
    "targets that are all ignored": Planted(
        """
        x = torch.ones(2, 3, requires_grad=True)
        y = torch.full((2,), -100)
        loss = torch.nn.functional.cross_entropy(x, y)  # here
        loss.backward()
        """,
        "NllLossBackward0",
        ("loss is NaN: NllLossBackward0 (loss) makes NaN", "total_weight: 0"),
        "Every target is ignore_index",
    ),
    "targets that are too long to be spelt": Planted(
        """
        x = torch.zeros(2, 1, 3, requires_grad=True)
        y = torch.ones(1, 4, dtype=torch.long)
        sizes = torch.tensor([2]), torch.tensor([4])
        loss = torch.nn.functional.ctc_loss(x.log_softmax(-1), y, *sizes)  # here
        loss.backward()
        """,
        "MeanBackward0",
        ("loss is inf: MeanBackward0 (loss), or DivBackward0 or CtcLossBackward0 before it, ",),
        "zero_infinity=True",
    ),
    "an overflow in an einsum, which shows a view of its product": Planted(
        """
        a = torch.full((2, 3), 1e30, requires_grad=True)
        b = torch.full((3, 2), 1e30, requires_grad=True)
        c = torch.einsum("ij,jk->ik", a, b)  # here
        loss = c.sum()
        loss.backward()
        """,
        "BmmBackward0",
        ("BmmBackward0 makes inf in all 4 elements of finite numbers",),
        "It grows beyond",
    ),
    "a normalisation of numbers whose squares are too large": Planted(
        """
        x = torch.tensor([[-1e25, 3e24, 1e25]], requires_grad=True)
        y = torch.nn.functional.layer_norm(x * 1, (3,))  # here
        loss = y.square().sum()
        loss.backward()
        """,
        "NativeLayerNormBackward0",
        ("NativeLayerNormBackward0 (y)",),
        "their squares leave the range",
    ),
    "a divisor that is nearly zero": Planted(
        """
        x = torch.tensor([1e-30, 1.0], requires_grad=True)
        y = 1 / x  # here
        loss = y.sum()
        loss.backward()
        """,
        "ReciprocalBackward0",
        ("ReciprocalBackward0 turns a finite gradient into -inf in 1 of 2 elements",),
        "1 / x²",
    ),
    "p log p of what the graph does not know": Planted(
        """
        p = torch.tensor([0.0, 1.0])
        q = torch.tensor([0.5, 0.5], requires_grad=True)
        gap = p.log() - q.log()  # here
        loss = (p * gap).sum()
        loss.backward()
        """,
        "SubBackward0",
        ("p.log() (planted.py:4) gave -inf, and it goes into SubBackward0 (gap), of which Mul",),
        "torch.xlogy(p, p)",
    ),
    "parameters that an optimizer has ruined": Planted(
        """
        net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 1))
        optimizer = torch.optim.SGD(net.parameters(), lr=float("inf"))
        for _ in range(2):
            optimizer.zero_grad()
            y = net(torch.ones(3, 2))  # here
            loss = y.sum()
            loss.backward()
            optimizer.step()
        """,
        "AccumulateGrad",
        (" before the forward pass, and so do net.0.* (2 parameters) and net.1.weight"),
        "An optimizer's step before this one wrote it",
        step=2,
    ),
    "within a checkpoint that hides its ops": Planted(
        """
        from torch.utils.checkpoint import checkpoint
        x = torch.tensor([0.0, 4.0], requires_grad=True)
        y = checkpoint(torch.sqrt, x, use_reentrant=True)  # here
        loss = y.sum()
        loss.backward()
        """,
        "CheckpointFunctionBackward",
        (
            "turns a finite gradient into inf in 1 of 2",
            "which of the ops within it did so cannot be seen",
        ),
        "use_reentrant=False) shows the ops within",
    ),
    "within a checkpoint that does not": Planted(
        """
        from torch.utils.checkpoint import checkpoint
        def block(x):
            return (x * 1).sqrt()  # here
        x = torch.tensor([0.0, 4.0], requires_grad=True)
        y = checkpoint(block, x, use_reentrant=False)
        loss = y.sum()
        loss.backward()
        """,
        "SqrtBackward0",
        ("turns a finite gradient into inf in 1 of 2",),
    ),
    "the second derivative of a norm": Planted(
        """
        x = torch.tensor([0.0, 0.0], requires_grad=True)
        y = x.norm()
        slope, = torch.autograd.grad(y, x, create_graph=True)  # here
        loss = slope.sum()
        loss.backward()
        """,
        "DivBackward0",
        ("turns a finite gradient into NaN",),
        step=2,
    ),
    "the second derivative of a power": Planted(
        """
        x = torch.tensor([0.0, 4.0], requires_grad=True)
        y = x.pow(1.5).sum()
        slope, = torch.autograd.grad(y, x, create_graph=True)  # here
        loss = slope.sum()
        loss.backward()
        """,
        "PowBackward0",
        ("PowBackward0 turns a finite gradient into inf in 1 of 2",),
        "At 0 a power is infinite",
        step=2,
    ),
    "a hook that makes NaN": Planted(
        """
        x = torch.tensor([1.0, 4.0], requires_grad=True)
        y = x * 2  # here
        y.register_hook(lambda gradient: gradient / 0 * 0)
        loss = y.sum()
        loss.backward()
        """,
        "MulBackward0",
        ("A hook turns the finite gradient of MulBackward0 (y) into NaN in all 2 elements",),
    ),
    "a module's hook that makes NaN": Planted(
        """
        from torch import nn
        net = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 1))
        net[1].register_full_backward_hook(lambda module, given, got: (given[0] / 0 * 0,))
        loss = net(torch.ones(4, 3)).sum()  # here
        loss.backward()
        """,
        "BackwardHookFunctionBackward",
        ("A backward hook of net.1 turns a finite gradient into NaN in all 12 elements",),
        "another gradient",
    ),
    "gradients that add up to too much at a leaf": Planted(
        """
        w = torch.full((4,), 0.001, dtype=torch.float16, requires_grad=True)
        a = w * 40000  # here
        loss = (a + w * 30000).float().sum()
        loss.backward()
        """,
        "AccumulateGrad",
        ("Finite gradients of w add up to inf in all 4 elements",),
        "float16 ends at 65,504",
    ),
    "one of several outputs": Planted(
        """
        x = torch.tensor([[0.0, 1.0], [2.0, 3.0]], requires_grad=True)
        a, b = (x * 2).unbind(0)
        loss = (a.log() + b).sum()  # here
        loss.backward()
        """,
        "LogBackward0",
        ("LogBackward0 makes -inf in 1 of 2 elements of finite numbers (self: 0 to 2)",),
        "logarithm of 0",
    ),
    "a function that fails because of it": Planted(
        """
        class Careful(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                return x * 1
            @staticmethod
            def backward(ctx, gradient):
                if not gradient.isfinite().all():
                    raise ValueError("no good")
                return gradient
        x = torch.zeros(3, requires_grad=True)
        y = Careful.apply(x * 1)
        loss = y.sqrt().sum()  # here
        loss.backward()
        """,
        "SqrtBackward0",
        ("SqrtBackward0 turns a finite gradient into inf in all 3 elements",),
        "slope of the root",
    ),
    "a backward pass that starts from NaN": Planted(
        """
        x = torch.tensor([1.0, 4.0], requires_grad=True)
        y = x * 2  # here
        y.backward(torch.tensor([float("nan"), 1.0]))
        """,
        "MulBackward0",
        ("The backward pass of y starts from NaN in 1 of 2 elements",),
    ),
    "an exponential that a later division hides": Planted(
        """
        x = torch.tensor([-100.0, 1.0], requires_grad=True)
        y = torch.exp(-x)  # here
        loss = (1 / (1 + y)).sum()
        loss.backward()
        """,
        "ExpBackward0",
        ("ExpBackward0 (y) turns a finite gradient into NaN in 1 of 2", "result: 0.368 to inf"),
        "exp overflows above 88.7",
    ),
}
