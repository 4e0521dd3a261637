"""DagNN."""
import torch
from torch import Tensor, nn
from torch_geometric.nn import MessagePassing
from grapheme_pyg.dag import check_typed_dag
from grapheme_pyg.nn.norm import GroupedBatchNorm
from grapheme_pyg.nn.sweep import plan_sweep
from grapheme_pyg.nn.typed_conv import typed_conv

class DagNN(MessagePassing):
    def __init__(self, metadata, in_channels, hidden_channels, norm="batch", skip=False, act=torch.relu):
        super().__init__(aggr=None)
        node_types, edge_types = metadata
        self.node_types, self.edge_types = list(node_types), [tuple(e) for e in edge_types]
        tid = {n: i for i, n in enumerate(node_types)}
        self.in_channels = in_channels; self.hidden = hidden_channels; self.skip = skip; self.act=act
        pairs = {}
        pair_of, rel_of = [], []
        for s, r, d in self.edge_types:
            rels = pairs.setdefault((s, d), [])
            pair_of.append(list(pairs).index((s, d))); rel_of.append(len(rels)); rels.append(r)
        self.pairs = pairs
        self.pair_names = [f"{s}__{d}" for s, d in pairs]
        self.relations = [len(r) for r in pairs.values()]
        self.self_rel = [r.index("self") if "self" in r else None for r in pairs.values()]
        self.register_buffer("pair_of", torch.tensor(pair_of), persistent=False)
        self.register_buffer("rel_of", torch.tensor(rel_of), persistent=False)
        self.register_buffer("endpoints", torch.tensor([[tid[s] for s,_,_ in self.edge_types],[tid[d] for _,_,d in self.edge_types]]), persistent=False)
        self.weight = nn.ParameterDict()
        for (s, d), n in zip(pairs, self.pair_names):
            R = len(pairs[(s, d)]); ci, co = hidden_channels[tid[s]], hidden_channels[tid[d]]
            w = torch.empty(R, ci, co); b = (6/(R*ci))**.5
            self.weight[n] = nn.Parameter(w.uniform_(-b, b))
        self.input = nn.ParameterDict()
        for i, n in enumerate(node_types):
            if in_channels[i]:
                b = (3/in_channels[i])**.5
                self.input[n] = nn.Parameter(torch.empty(in_channels[i], hidden_channels[i]).uniform_(-b, b))
        self.norm = nn.ModuleDict({n: (GroupedBatchNorm(hidden_channels[i]) if norm == "batch" else nn.LayerNorm(hidden_channels[i])) for i, n in enumerate(node_types)})

    def forward(self, x, edge_index, edge_type, node_type, level, nodes):
        check_typed_dag(edge_index, edge_type, node_type, level, num_nodes=x.shape[0], endpoints=self.endpoints, num_node_types=len(self.node_types))
        sweep = plan_sweep(edge_index, edge_type, node_type, level, pair_of_type=self.pair_of, relation_of_type=self.rel_of, relations_of_pair=self.relations, num_node_types=len(self.node_types))
        states = []
        for g in sweep.groups:
            name = self.node_types[g.node_type]
            out = None
            for b in g.blocks:
                src = states[b.source_groups[0]] if len(b.source_groups) == 1 else torch.cat([states[i] for i in b.source_groups])
                y = typed_conv(src, self.weight[self.pair_names[b.pair]], b)
                out = y if out is None else out + y
            if name in self.input:
                w = self.input[name]
                y = x[g.nodes, :w.shape[0]] @ w
                out = y if out is None else out + y
            if out is None: out = x.new_zeros(len(g.nodes), self.hidden[g.node_type])
            h = self.act(self.norm[name](out))
            if self.skip:
                for b in g.blocks:
                    sr = self.self_rel[b.pair]
                    if sr is not None:
                        h = h + src
            states.append(h)
        for n in self.norm.values():
            if isinstance(n, GroupedBatchNorm): n.update()
        # only single group requested
        gs = sweep.group_of[nodes]
        if bool((gs == gs[0]).all()):
            return states[int(gs[0])].index_select(0, sweep.row_of[nodes])
        out = x.new_zeros(len(nodes), max(self.hidden))
        for gi in gs.unique().tolist():
            rows = (gs == gi).nonzero().squeeze(1)
            out[rows, :states[gi].shape[1]] = states[gi][sweep.row_of[nodes[rows]]].to(out.dtype)
        return out
