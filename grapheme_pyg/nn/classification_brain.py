"""ClassificationBrain: node states → an embedding for each graph → similarities with class templates."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.nn import global_max_pool, global_mean_pool


class ClassificationBrain(nn.Module):
    def __init__(self, in_channels, num_classes, *, embedding_channels=64, templates_per_class=4, init_temperature=10.0, readout="meanmax"):
        super().__init__()
        self.readout = readout
        k = {"mean": 1, "max": 1, "meanmax": 2}[readout]
        self.project = nn.Linear(k * in_channels, embedding_channels, bias=False)
        self.templates = nn.Parameter(torch.randn(num_classes, templates_per_class, embedding_channels))
        self.log_temperature = nn.Parameter(torch.tensor(math.log(init_temperature)))

    def embed(self, states, index, batch_size):
        p = []
        if "mean" in self.readout: p.append(global_mean_pool(states, index, batch_size))
        if "max" in self.readout: p.append(global_max_pool(states, index, batch_size))
        return self.project(torch.cat(p, 1))

    def similarities(self, embedding):
        t = F.normalize(self.templates, dim=-1)
        return (F.normalize(embedding, dim=-1) @ t.flatten(0, 1).t()).view(-1, *t.shape[:2])

    def forward(self, states, index, batch_size):
        sim = self.similarities(self.embed(states, index, batch_size))
        return sim.amax(-1) * self.log_temperature.exp()
