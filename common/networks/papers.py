"""The papers' networks."""
from torch import nn

from common.networks.classifier import Classifier, Dropout


def _convolution(channels, out):
    # no bias: the batch norm that follows would take it away again
    return [nn.Conv2d(channels, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU(inplace=True)]


def vgg16(precision):
    """VGG-16 with batch norm for 32 x 32 RGB images, one linear layer 512-10."""
    layers, channels = [], 3
    for out in (64, 64, "pool", 128, 128, "pool", 256, 256, 256, "pool", 512, 512, 512, "pool", 512, 512, 512, "pool"):
        if out == "pool":
            layers.append(nn.MaxPool2d(2))
        else:
            layers += _convolution(channels, out)
            channels = out
    return Classifier(nn.Sequential(*layers, nn.Flatten()), nn.Linear(512, 10), precision)


def digits_net(precision):
    """Three convolutions for 8 x 8 grey images, one linear layer 256-10."""
    body = nn.Sequential(*_convolution(1, 32), *_convolution(32, 64), nn.MaxPool2d(2),
                         *_convolution(64, 64), nn.MaxPool2d(2), nn.Flatten(), Dropout(.5))
    return Classifier(body, nn.Linear(256, 10), precision)


def four_conv(precision):
    """For 150 x 150 images of three channels and two classes: four convolutions, 3136-128, dropout, 128-2.

    Each convolution is 3 x 3, unpadded, followed by ReLU and max-pool 2, the first by batch norm then. The pool comes
    before the ReLU here: the two commute, and it leaves the ReLU a quarter of the work.
    """
    layers, channels = [], 3
    for out in (32, 32, 64, 64):
        layers += [nn.Conv2d(channels, out, 3), nn.MaxPool2d(2), nn.ReLU(inplace=True)]
        channels = out
    layers.insert(3, nn.BatchNorm2d(32))
    body = nn.Sequential(*layers, nn.Flatten(), nn.Linear(3136, 128), nn.ReLU(), Dropout(.5))
    return Classifier(body, nn.Linear(128, 2), precision)


def feature_net(size, classes, precision):
    """For rows of `size` features: linear to 128, ReLU, dropout 0.5, linear to the classes."""
    return Classifier(nn.Sequential(nn.Linear(size, 128), nn.ReLU(), Dropout(.5)), nn.Linear(128, classes), precision)
