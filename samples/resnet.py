# ResNet (He et al., 2015) in plain torch; the factory model(depth) makes 18, 34 or 50 layers.
# Every block adds its input to its output: the gradient finds a short way around the block.
import torch
from torch import nn


def convolution(channels_in, channels_out, kernel, stride=1):
    padding = kernel // 2
    return nn.Conv2d(channels_in, channels_out, kernel, stride, padding, bias=False)


class Block(nn.Module):
    """Two convolutions, or with `bottleneck` three, and a way around them."""

    def __init__(self, channels_in, channels, stride, bottleneck):
        super().__init__()
        channels_out = 4 * channels if bottleneck else channels
        plan = [(channels, 3, stride), (channels, 3, 1)]
        if bottleneck:
            plan = [(channels, 1, 1), (channels, 3, stride), (channels_out, 1, 1)]
        layers = []
        width = channels_in
        for width_out, kernel, layer_stride in plan:
            layers += [
                convolution(width, width_out, kernel, layer_stride),
                nn.BatchNorm2d(width_out),
                nn.ReLU(),
            ]
            width = width_out
        self.body = nn.Sequential(*layers[:-1])
        self.shortcut = nn.Identity()
        if stride != 1 or channels_in != channels_out:
            self.shortcut = nn.Sequential(
                convolution(channels_in, channels_out, 1, stride), nn.BatchNorm2d(channels_out)
            )

    def forward(self, x):
        return torch.relu(self.body(x) + self.shortcut(x))


class ResNet(nn.Module):
    def __init__(self, blocks, bottleneck, classes=1000):
        super().__init__()
        self.stem = nn.Sequential(
            convolution(3, 64, 7, stride=2), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)
        )
        self.stages = nn.Sequential()
        channels_in = 64
        for stage, count in enumerate(blocks):
            channels = 64 * 2**stage
            layers = nn.Sequential()
            for nth in range(count):
                stride = 2 if stage > 0 and nth == 0 else 1
                layers.append(Block(channels_in, channels, stride, bottleneck))
                channels_in = 4 * channels if bottleneck else channels
            self.stages.append(layers)
        self.classifier = nn.Linear(channels_in, classes)

    def forward(self, image):
        features = self.stages(self.stem(image))
        return self.classifier(features.mean(dim=(2, 3)))


def model(depth=18, classes=1000):
    blocks = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}[depth]
    return ResNet(blocks, bottleneck=depth == 50, classes=classes)


if __name__ == "__main__":
    torch.manual_seed(0)
    net = model(classes=10)
    images, classes = torch.randn(2, 3, 64, 64), torch.tensor([3, 7])
    loss = nn.functional.cross_entropy(net(images), classes)
    loss.backward()
    print(f"loss = {loss.item():.3f}")
