"""The tutorial's files: CIFAR-10 in its own format and small, its scripts, and what the pages do not show of them."""

import pickle
import random

import numpy as np

UPLOAD = """
# tutorial/05-upload-data.py
from azureml.core import Workspace
ws = Workspace.from_config()
datastore = ws.get_default_datastore()
datastore.upload(src_dir='./data', target_path='datasets/cifar10', overwrite=True)
"""
CONTROL = """
# tutorial/06-run-pytorch-data.py
from azureml.core import Workspace
from azureml.core import Experiment
from azureml.core import Environment
from azureml.core import ScriptRunConfig
from azureml.core import Dataset

if __name__ == "__main__":
    ws = Workspace.from_config()

    datastore = ws.get_default_datastore()
    dataset = Dataset.File.from_files(path=(datastore, 'datasets/cifar10'))

    experiment = Experiment(workspace=ws, name='day1-experiment-data')

    config = ScriptRunConfig(
        source_directory='./src',
        script='train.py',
        compute_target='cpu-cluster',
        arguments=[
            '--data_path', dataset.as_named_input('input').as_mount(),
            '--learning_rate', 0.003,
            '--momentum', 0.92],
        )

    # set up pytorch environment
    env = Environment.from_conda_specification(name='pytorch-env',file_path='.azureml/pytorch-env.yml')
    config.run_config.environment = env

    run = experiment.submit(config)
    aml_url = run.get_portal_url()
    print("Submitted to an Azure Machine Learning compute cluster. Click on the link below")
    print("")
    print(aml_url)
"""
CONDA = """
name: pytorch-env
channels:
  - pytorch
dependencies:
  - python=3.7
  - pytorch
"""
# The page's script up to the training; what follows it needs PyTorch.
HEAD = """
from azureml.core import Run

run = Run.get_context()

if __name__ == "__main__":
    import argparse, os
    parser = argparse.ArgumentParser()
    parser.add_argument('--data_path', type=str, help='Path to the training data')
    parser.add_argument('--learning_rate', type=float, default=0.001, help='Learning rate for SGD')
    parser.add_argument('--momentum', type=float, default=0.9, help='Momentum for SGD')
    args = parser.parse_args()

    print("===== DATA =====")
    print("DATA PATH: " + args.data_path)
    print("LIST FILES IN DATA PATH...")
    print(os.listdir(args.data_path))
    print("================")
"""
TRAIN = """
# tutorial/src/train.py
import os
import argparse
import torch
import torch.optim as optim
import torchvision
import torchvision.transforms as transforms

from model import Net
from azureml.core import Run

run = Run.get_context()

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument('--data_path', type=str, help='Path to the training data')
    parser.add_argument('--learning_rate', type=float, default=0.001, help='Learning rate for SGD')
    parser.add_argument('--momentum', type=float, default=0.9, help='Momentum for SGD')
    args = parser.parse_args()

    print("===== DATA =====")
    print("DATA PATH: " + args.data_path)
    print("LIST FILES IN DATA PATH...")
    print(os.listdir(args.data_path))
    print("================")

    # prepare DataLoader for CIFAR10 data
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))])
    trainset = torchvision.datasets.CIFAR10(
        root=args.data_path,
        train=True,
        download=False,
        transform=transform,
    )
    trainloader = torch.utils.data.DataLoader(trainset, batch_size=4, shuffle=True, num_workers=2)

    # define convolutional network
    net = Net()

    # set up pytorch loss /  optimizer
    criterion = torch.nn.CrossEntropyLoss()
    optimizer = optim.SGD(
        net.parameters(),
        lr=args.learning_rate,
        momentum=args.momentum,
    )

    # train the network
    for epoch in range(2):

        running_loss = 0.0
        for i, data in enumerate(trainloader, 0):
            # unpack the data
            inputs, labels = data

            # zero the parameter gradients
            optimizer.zero_grad()

            # forward + backward + optimize
            outputs = net(inputs)
            loss = criterion(outputs, labels)
            loss.backward()
            optimizer.step()

            # print statistics
            running_loss += loss.item()
            if i % 2000 == 1999:
                loss = running_loss / 2000
                run.log('loss', loss) # log loss metric to AML
                print(f'epoch={epoch + 1}, batch={i + 1:5}: loss {loss:.2f}')
                running_loss = 0.0

    print('Finished Training')
"""
MODEL = """
import torch
import torch.nn as nn
import torch.nn.functional as F

torch.manual_seed(0)
torch.set_num_threads(1)

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 5)
        self.pool = nn.MaxPool2d(2, 2)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(16 * 5 * 5, 10)

    def forward(self, x):
        x = self.pool(F.relu(self.conv1(x)))
        x = self.pool(F.relu(self.conv2(x)))
        return self.fc1(x.view(-1, 16 * 5 * 5))
"""
# Stands in for the package, of which the script needs this much; reads each image when it is wanted.
TORCHVISION = {
    "src/torchvision/__init__.py": "from torchvision import datasets, transforms\n",
    "src/torchvision/transforms.py": """
import torch

class ToTensor:
    def __call__(self, image):
        return image.reshape(3, 32, 32).float() / 255

class Normalize:
    def __init__(self, mean, std):
        self.mean, self.std = (torch.tensor(part).reshape(3, 1, 1) for part in (mean, std))

    def __call__(self, tensor):
        return (tensor - self.mean) / self.std

class Compose:
    def __init__(self, steps):
        self.steps = steps

    def __call__(self, image):
        for step in self.steps:
            image = step(image)
        return image
""",
    "src/torchvision/datasets.py": """
import os, pickle
import torch

class CIFAR10(torch.utils.data.Dataset):
    def __init__(self, root, train, download, transform):
        directory = os.path.join(root, 'cifar-10-batches-py')
        self.items, self.transform = [], transform
        for name in sorted(name for name in os.listdir(directory) if name.startswith('data_batch_')):
            file = open(os.path.join(directory, name), 'rb')
            content = file.read()
            batch = pickle.loads(content, encoding='bytes')
            images = content.index(batch[b'data'].tobytes())
            self.items += [(file, images + 3072 * number, label) for number, label in enumerate(batch[b'labels'])]

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        file, place, label = self.items[index]
        image = bytearray(os.pread(file.fileno(), 3072, place))
        return self.transform(torch.frombuffer(image, dtype=torch.uint8)), label
""",
}


def cifar10(images: int) -> dict[str, bytes]:
    """Return files as CIFAR-10 has them, five batches of `images` images and a test batch, by path below `data/`."""
    draw = random.Random(10)
    files = {"data/cifar-10-python.tar.gz": draw.randbytes(1000), "data/cifar-10-batches-py/readme.html": b"<html>"}
    meta = {b"label_names": [b"label %d" % number for number in range(10)], b"num_cases_per_batch": images}
    files["data/cifar-10-batches-py/batches.meta"] = pickle.dumps(meta)
    for name in [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]:
        batch = {
            b"batch_label": name.encode(),
            b"labels": [draw.randrange(10) for _ in range(images)],
            b"data": np.frombuffer(draw.randbytes(images * 3072), dtype=np.uint8).reshape(images, 3072),
            b"filenames": [b"%d.png" % number for number in range(images)],
        }
        files[f"data/cifar-10-batches-py/{name}"] = pickle.dumps(batch)
    return files
