"""Models of every shape and size, as factories: `graphviz-cli benchmarks/models.py:resnet50`."""

import torch
import transformers
from torch import Tensor, nn
from torch.nn import functional


def gpt2(layers: int = 12, width: int = 768) -> Tensor:
    config = transformers.GPT2Config(n_layer=layers, n_embd=width, n_head=12, vocab_size=5000)
    ids = torch.randint(0, 5000, (2, 32))
    return transformers.GPT2LMHeadModel(config)(input_ids=ids, labels=ids).loss


def llama(layers: int = 16) -> Tensor:
    config = transformers.LlamaConfig(
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=layers,
        num_attention_heads=8,
        num_key_value_heads=4,
        vocab_size=1000,
    )
    ids = torch.randint(0, 1000, (2, 16))
    return transformers.LlamaForCausalLM(config)(input_ids=ids, labels=ids).loss


def bert(layers: int = 12) -> Tensor:
    config = transformers.BertConfig(
        hidden_size=96, num_hidden_layers=layers, num_attention_heads=12, vocab_size=1000
    )
    ids = torch.randint(0, 1000, (2, 16))
    return transformers.BertForMaskedLM(config)(input_ids=ids, labels=ids).loss


def t5(layers: int = 6) -> Tensor:
    config = transformers.T5Config(
        d_model=64,
        d_ff=128,
        num_layers=layers,
        num_heads=4,
        d_kv=16,
        vocab_size=1000,
        decoder_start_token_id=0,
        pad_token_id=0,
    )
    ids = torch.randint(0, 1000, (2, 16))
    return transformers.T5ForConditionalGeneration(config)(input_ids=ids, labels=ids).loss


def vit(layers: int = 12) -> Tensor:
    config = transformers.ViTConfig(
        hidden_size=96, intermediate_size=192, num_hidden_layers=layers, num_attention_heads=12
    )
    model = transformers.ViTForImageClassification(config)
    return model(pixel_values=torch.randn(2, 3, 224, 224)).logits


def moe(layers: int = 4) -> Tensor:
    config = transformers.MixtralConfig(
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_local_experts=8,
        vocab_size=1000,
    )
    ids = torch.randint(0, 1000, (2, 16))
    return transformers.MixtralForCausalLM(config)(input_ids=ids, labels=ids).loss


class Experts(nn.Module):
    """A mixture of experts in which a loop sends each token to its two best experts."""

    def __init__(self, width: int = 32, experts: int = 8) -> None:
        super().__init__()
        self.gate = nn.Linear(width, experts)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
            for _ in range(experts)
        )

    def forward(self, x: Tensor) -> Tensor:
        weights, chosen = self.gate(x).softmax(-1).topk(2, dim=-1)
        result = torch.zeros_like(x)
        for number, expert in enumerate(self.experts):
            token, slot = (chosen == number).nonzero(as_tuple=True)
            result = result.index_add(0, token, expert(x[token]) * weights[token, slot, None])
        return result


def experts() -> Tensor:
    return nn.Sequential(Experts(), Experts(), nn.Linear(32, 1))(torch.randn(64, 32)).mean()


class Bottleneck(nn.Module):
    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = 4 * width
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = (
            nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )
            if stride != 1 or inputs != outputs
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    def __init__(self, depths: tuple[int, ...] = (3, 4, 6, 3), width: int = 64) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 7, 2, 3, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, 1),
        )
        channels = width
        for stage, depth in enumerate(depths):
            blocks = []
            for block in range(depth):
                stride = 2 if stage and not block else 1
                blocks.append(Bottleneck(channels, width << stage, stride))
                channels = 4 * (width << stage)
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.stages = len(depths)
        self.fc = nn.Linear(channels, 1000)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for stage in range(self.stages):
            x = self.get_submodule(f"layer{stage + 1}")(x)
        return self.fc(x.mean((2, 3)))


def resnet50() -> Tensor:
    return functional.cross_entropy(
        ResNet()(torch.randn(2, 3, 64, 64)), torch.tensor([1, 2], dtype=torch.long)
    )


class UNet(nn.Module):
    def __init__(self, depth: int = 4, width: int = 8) -> None:
        super().__init__()
        widths = [width << level for level in range(depth)]
        self.downs = nn.ModuleList(
            self.block(before, after) for before, after in zip([3, *widths], widths)
        )
        self.bottom = self.block(widths[-1], 2 * widths[-1])
        self.rises = nn.ModuleList(nn.ConvTranspose2d(2 * w, w, 2, 2) for w in reversed(widths))
        self.ups = nn.ModuleList(self.block(2 * w, w) for w in reversed(widths))
        self.head = nn.Conv2d(width, 1, 1)

    @staticmethod
    def block(inputs: int, outputs: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, padding=1),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
        )

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for down in self.downs:
            x = down(x)
            skips.append(x)
            x = functional.max_pool2d(x, 2)
        x = self.bottom(x)
        for rise, up, skip in zip(self.rises, self.ups, reversed(skips)):
            x = up(torch.cat([rise(x), skip], 1))
        return self.head(x)


def unet(depth: int = 4) -> Tensor:
    return UNet(depth)(torch.randn(1, 3, 64, 64)).mean()


def rnn(steps: int = 2000) -> Tensor:
    cell, state = nn.RNNCell(8, 16), torch.zeros(4, 16)
    head = nn.Linear(16, 1)
    for x in torch.randn(steps, 4, 8):
        state = cell(x, state)
    return head(state).mean()


def lstm(steps: int = 500) -> Tensor:
    cell, head = nn.LSTMCell(8, 16), nn.Linear(16, 1)
    state, outputs = (torch.zeros(4, 16), torch.zeros(4, 16)), []
    for x in torch.randn(steps, 4, 8):
        state = cell(x, state)
        outputs.append(head(state[0]))
    return torch.stack(outputs).mean()


def flat(ops: int = 50_000) -> Tensor:
    """No module and no period: the ops and their partners are drawn at random."""
    generator = torch.Generator().manual_seed(0)
    choices = torch.randint(0, 4, (ops,), generator=generator).tolist()
    offsets = torch.randint(1, 9, (ops,), generator=generator).tolist()
    live = [torch.ones(4, requires_grad=True) for _ in range(8)]
    for choice, offset in zip(choices, offsets):
        x, y = live[-1], live[-offset]
        live.append((x * y, x + y, x.sin(), x - 0.5 * y.tanh())[choice])
        del live[0]
    return live[-1].sum()


def chain(ops: int = 1_000_000) -> Tensor:
    x = torch.ones((), requires_grad=True)
    for _ in range(ops):
        x = x * 1.0
    return x
