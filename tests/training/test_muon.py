import copy
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from grapheme_pyg.training.muon import MuonAdamW, orthogonal_all

# What five steps of the iteration make of a singular value of 1; see test_a_singular_value_by_hand.
ONE = 0.696436


def make(kernels: list[nn.Parameter], others: list[nn.Parameter], *, lr: float = 0.1, decay: float = 0.0) -> MuonAdamW:
    return MuonAdamW(kernels, [{"params": others, "weight_decay": 0.05}], lr=lr, kernel_lr=0.5, kernel_decay=decay)


def parameters() -> tuple[nn.Parameter, nn.Parameter, nn.Parameter]:
    torch.manual_seed(0)
    return tuple(nn.Parameter(torch.randn(shape)) for shape in ((3, 4, 5), (6, 7), (5,)))


def set_gradients(of: list[nn.Parameter], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in of:
        parameter.grad = torch.randn(parameter.shape, generator=generator)


def orthogonal(matrix: Tensor) -> Tensor:
    return orthogonal_all([matrix])[0]


def spectrum(matrix: Tensor) -> tuple[float, float]:
    values = torch.linalg.svdvals(matrix)
    return values.min().item(), values.max().item()


class TestOrthogonal:
    def test_a_singular_value_by_hand(self) -> None:
        # 3.4445 s − 4.775 s³ + 2.0315 s⁵, five times from 1: 0.701, 1.113620, 0.720706, 1.089974, 0.696436.
        value = 1.0
        for _ in range(5):
            value = 3.4445 * value - 4.775 * value**3 + 2.0315 * value**5
        assert value == pytest.approx(ONE, abs=1e-5)
        # A vector has one singular value, its length.
        torch.testing.assert_close(orthogonal(torch.tensor([[3.0], [4.0]])), ONE * torch.tensor([[0.6], [0.8]]))
        torch.testing.assert_close(orthogonal(torch.tensor([[3.0, 4.0]])), ONE * torch.tensor([[0.6, 0.8]]))

    @pytest.mark.parametrize("shape", [(40, 8), (8, 40), (9, 5), (100, 1), (1, 100), (1, 1)])
    def test_singular_values_of_random_matrices(self, shape: tuple[int, int]) -> None:
        for _ in range(20):
            low, high = spectrum(orthogonal(torch.randn(shape)))
            assert 0.68 < low <= high < 1.21

    @pytest.mark.parametrize("scale", [1e-3, 1.0, 1e6])
    @pytest.mark.parametrize("ratio", [1.0, 0.1, 0.02])
    def test_singular_values_of_square_matrices(self, ratio: float, scale: float) -> None:
        # Singular values from `ratio` to 1. (Random square ones have some that are too small for five steps.)
        for _ in range(20):
            left, right = (torch.linalg.qr(torch.randn(12, 12))[0] for _ in range(2))
            low, high = spectrum(orthogonal(scale * left * torch.linspace(ratio, 1, 12) @ right))
            assert 0.68 < low <= high < 1.21

    def test_small_singular_values_never_overshoot(self) -> None:
        for _ in range(20):
            assert spectrum(orthogonal(torch.randn(30, 30)))[1] < 1.21

    @pytest.mark.parametrize("shape", [(3, 3), (2, 5), (5, 2)])
    def test_zeros_stay(self, shape: tuple[int, int]) -> None:
        assert torch.equal(orthogonal(torch.zeros(shape)), torch.zeros(shape))

    @pytest.mark.parametrize("shape", [(20, 6), (6, 20), (9, 9)])
    def test_of_a_transpose_is_the_transpose(self, shape: tuple[int, int]) -> None:
        matrix = torch.randn(shape, dtype=torch.float64)
        torch.testing.assert_close(orthogonal(matrix.t()), orthogonal(matrix).t(), rtol=0, atol=1e-12)

    def test_turns_with_the_matrix(self) -> None:
        matrix = torch.randn(8, 5, dtype=torch.float64)
        turn, other = (torch.linalg.qr(torch.randn(n, n, dtype=torch.float64))[0] for n in (8, 5))
        torch.testing.assert_close(orthogonal(turn @ matrix @ other), turn @ orthogonal(matrix) @ other)

    def test_length_does_not_matter(self) -> None:
        matrix = torch.randn(8, 5)
        torch.testing.assert_close(orthogonal(1000 * matrix), orthogonal(matrix), rtol=0, atol=1e-5)

    def test_keeps_the_sides_of_the_decomposition(self) -> None:
        # The nearest matrix with orthonormal columns is U Vᵀ; ours has U diag(0.7…1.2) Vᵀ.
        matrix = torch.randn(8, 5, dtype=torch.float64)
        left, _, right = torch.linalg.svd(matrix, full_matrices=False)
        core = left.t() @ orthogonal(matrix) @ right.t()
        torch.testing.assert_close(core, core.diagonal().diag(), rtol=0, atol=1e-12)
        assert core.diagonal().min() > 0.68

    def test_leaves_its_argument_alone(self) -> None:
        matrix = torch.randn(4, 4)
        before = matrix.clone()
        orthogonal(matrix)
        assert torch.equal(matrix, before)


class TestMuon:
    def test_first_step_by_hand(self) -> None:
        # Two relations from width 2 to width 1: one matrix of 4 rows and 1 column, hence the scale √4. The gradient has
        # length 5. Rate 0.5, decay 0.2: 10 % of the weights go.
        kernel = nn.Parameter(torch.tensor([[[10.0], [20.0]], [[30.0], [40.0]]]))
        kernel.grad = torch.tensor([[[3.0], [0.0]], [[0.0], [4.0]]])
        make([kernel], [], decay=0.2).step()
        step = 0.5 * 2 * ONE
        expected = torch.tensor([[[9 - step * 0.6], [18.0]], [[27.0], [36 - step * 0.8]]])
        torch.testing.assert_close(kernel.data, expected)

    def test_wide_kernels_are_not_scaled(self) -> None:
        kernel = nn.Parameter(torch.zeros(1, 1, 4))
        kernel.grad = torch.tensor([[[0.0, -3.0, 0.0, 4.0]]])
        make([kernel], []).step()
        torch.testing.assert_close(kernel.data, 0.5 * ONE * torch.tensor([[[0.0, 0.6, 0.0, -0.8]]]))

    def test_momentum_by_hand(self) -> None:
        # M₁ = 0.05 g₁, M₂ = 0.0475 g₁ + 0.05 g₂; the second update is along 0.95 M₂ + 0.05 g₂.
        kernel = nn.Parameter(torch.zeros(1, 1, 2))
        optimizer = make([kernel], [])
        kernel.grad = torch.tensor([[[1.0, 0.0]]])
        optimizer.step()
        before = kernel.detach().clone()
        kernel.grad = torch.tensor([[[0.0, 1.0]]])
        optimizer.step()
        direction = torch.tensor([[[0.045125, 0.0975]]])
        torch.testing.assert_close(kernel - before, -0.5 * ONE * direction / direction.norm())

    def test_size_of_gradients_does_not_matter(self) -> None:
        first, second = nn.Parameter(torch.ones(2, 3, 4)), nn.Parameter(torch.ones(2, 3, 4))
        first.grad = torch.randn(2, 3, 4)
        second.grad = 100 * first.grad
        make([first, second], []).step()
        torch.testing.assert_close(first, second)

    def test_relations_are_one_matrix(self) -> None:
        kernel, matrix, apart = (nn.Parameter(torch.zeros(shape)) for shape in ((3, 4, 5), (12, 5), (3, 4, 5)))
        optimizer = make([kernel, matrix], [])
        for seed in range(3):
            set_gradients([kernel], seed)
            matrix.grad = kernel.grad.view(12, 5).clone()
            optimizer.step()
        assert torch.equal(kernel.view(12, 5), matrix)
        with torch.no_grad():
            for one, grad in zip(apart, kernel.grad, strict=True):
                one.copy_(orthogonal(grad))
        assert not torch.allclose(kernel.grad, apart)
        # Their columns are orthonormal together, not each relation's.
        low, high = spectrum(orthogonal(kernel.grad.flatten(0, 1)))
        assert 0.68 < low <= high < 1.21

    def test_what_relations_share_is_a_weight_that_is_added_to_each(self) -> None:
        torch.manual_seed(0)
        kernel, matrix, single = (nn.Parameter(torch.randn(shape)) for shape in ((3, 6, 4), (6, 4), (1, 6, 4)))
        apart, plain, alone = (nn.Parameter(parameter.detach().clone()) for parameter in (kernel, matrix, single))
        common = nn.Parameter(torch.zeros(6, 4))
        shared = MuonAdamW([kernel, matrix, single], [], lr=0.1, kernel_lr=0.5, kernel_decay=0.0, shared=True)
        explicit = make([apart, common, plain, alone], [])
        for step in range(4):
            set_gradients([kernel, matrix, single], step)
            gradients = kernel.grad, kernel.grad.sum(0), matrix.grad, single.grad
            for parameter, gradient in zip((apart, common, plain, alone), gradients, strict=True):
                parameter.grad = gradient.clone()
            shared.step()
            explicit.step()
            torch.testing.assert_close(kernel.data, (apart + common).data)
            torch.testing.assert_close([matrix.data, single.data], [plain.data, alone.data])

    def test_whitened_kernels_are_those_of_whitened_inputs(self) -> None:
        torch.manual_seed(0)
        kernel, whitening = nn.Parameter(torch.randn(6, 4)), torch.randn(6, 6)
        # x W = (x P) V, so V has the gradient Pᵀ ∂W.
        inner = nn.Parameter(torch.linalg.solve(whitening, kernel.detach()))
        optimizer, explicit = make([kernel], [], decay=0.1), make([inner], [], decay=0.1)
        optimizer.whiten(kernel, whitening)
        for step in range(4):
            set_gradients([kernel], step)
            inner.grad = whitening.t() @ kernel.grad
            optimizer.step()
            explicit.step()
            torch.testing.assert_close(kernel.data, whitening @ inner.data)

    def test_descends(self) -> None:
        # To a target, |W − T|²: every direction at the same pace.
        target = torch.randn(2, 6, 4)
        kernel = nn.Parameter(torch.zeros(2, 6, 4))
        optimizer = make([kernel], [])
        losses = []
        for _ in range(30):
            optimizer.param_groups[0]["lr"] *= 0.9
            loss = (kernel - target).square().sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        assert losses[-1] < 0.05 * losses[0]


class TestBoth:
    def test_the_others_are_adamw(self) -> None:
        mine, theirs = parameters(), parameters()
        optimizer = MuonAdamW(
            mine[:1],
            [{"params": mine[1:2], "weight_decay": 0.3}, {"params": mine[2:], "weight_decay": 0.0}],
            lr=0.02,
            kernel_lr=0.5,
            kernel_decay=0.1,
        )
        reference = torch.optim.AdamW(
            [{"params": theirs[1:2], "weight_decay": 0.3}, {"params": theirs[2:], "weight_decay": 0.0}],
            lr=0.02,
            fused=True,
        )
        for seed in range(5):
            set_gradients(mine[1:], seed)
            set_gradients(theirs[1:], seed)
            set_gradients(mine[:1], seed + 100)
            optimizer.step()
            reference.step()
        for one, other in zip(mine[1:], theirs[1:], strict=True):
            assert torch.equal(one, other)
        assert not torch.equal(mine[0], theirs[0])

    def test_without_kernels_it_is_adamw(self) -> None:
        mine, theirs = parameters(), parameters()
        optimizer = MuonAdamW([], [{"params": mine}], lr=0.1, kernel_lr=0.5, kernel_decay=0.1)
        reference = torch.optim.AdamW(theirs, lr=0.1, fused=True)
        assert len(optimizer.param_groups) == 1
        for seed in range(3):
            set_gradients(mine, seed)
            set_gradients(theirs, seed)
            optimizer.step()
            reference.step()
        for one, other in zip(mine, theirs, strict=True):
            assert torch.equal(one, other)

    def test_kernels_alone(self) -> None:
        kernel, *others = parameters()
        optimizer = MuonAdamW(iter([kernel]), [{"params": []}], lr=0.1, kernel_lr=0.5, kernel_decay=0.1)
        set_gradients([kernel, *others], 0)
        before = [kernel.detach().clone(), *(other.detach().clone() for other in others)]
        optimizer.step()
        assert not torch.equal(kernel, before[0])
        for other, old in zip(others, before[1:], strict=True):
            assert torch.equal(other, old)

    def test_without_gradients_nothing_moves(self) -> None:
        kernel, matrix, bias = parameters()
        optimizer = make([kernel], [matrix, bias], decay=0.5)
        before = [p.detach().clone() for p in (kernel, matrix, bias)]
        optimizer.step()
        assert not optimizer.state
        for parameter, old in zip((kernel, matrix, bias), before, strict=True):
            assert torch.equal(parameter, old)  # no decay either
        set_gradients([matrix], 0)
        optimizer.step()
        assert set(optimizer.state) == {matrix}
        assert torch.equal(kernel, before[0])
        assert torch.equal(bias, before[2])

    def test_groups_stay_after_a_failure(self) -> None:
        kernel, matrix, bias = parameters()
        optimizer = make([kernel], [matrix, bias])
        matrix.grad = torch.sparse_coo_tensor([[0], [0]], [1.0], (6, 7), check_invariants=True)
        with pytest.raises(RuntimeError, match="sparse"):
            optimizer.step()
        assert [len(group["params"]) for group in optimizer.param_groups] == [1, 2]

    def test_closure(self) -> None:
        kernel, matrix, bias = parameters()
        optimizer = make([kernel], [matrix, bias])
        calls = []

        def closure() -> Tensor:
            calls.append(torch.is_grad_enabled())
            optimizer.zero_grad()
            loss = sum(p.square().sum() for p in (kernel, matrix, bias))
            loss.backward()
            return loss

        before = kernel.detach().clone()
        expected = sum(p.square().sum() for p in (kernel, matrix, bias)).item()
        with torch.no_grad():
            assert optimizer.step(closure).item() == pytest.approx(expected)
        assert calls == [True]
        assert not torch.equal(kernel, before)
        assert optimizer.step() is None

    def test_one_cycle(self) -> None:
        kernel, matrix, bias = parameters()
        optimizer = make([kernel], [matrix, bias], lr=0.1)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, [0.5, 0.1], total_steps=10, pct_start=0.3, cycle_momentum=False
        )
        rates, moves = [], []
        for seed in range(10):
            set_gradients([kernel, matrix, bias], seed)
            rates.append([group["lr"] for group in optimizer.param_groups])
            before = kernel.detach().clone()
            optimizer.step()
            moves.append((kernel - before).norm().item())
            schedule.step()
        # Both rise to their peaks by the third step and fall to a tiny part of where they began.
        assert rates[2] == pytest.approx([0.5, 0.1])
        for muon, adamw in rates:
            assert muon == pytest.approx(5 * adamw)
        # A step of Muon is as long as its rate says: five singular values of about 0.7 to 1.2, and the scale √(12/5).
        for (rate, _), move in zip(rates, moves, strict=True):
            assert 0.68 < move / (rate * math.sqrt(5) * math.sqrt(12 / 5)) < 1.21


class TestState:
    """An optimiser that is saved and loaded, or copied, goes on as if nothing had happened."""

    @staticmethod
    def take_steps(optimizer: MuonAdamW, seeds: range) -> None:
        for seed in seeds:
            set_gradients([p for group in optimizer.param_groups for p in group["params"]], seed)
            optimizer.step()

    @staticmethod
    def make() -> tuple[MuonAdamW, tuple[nn.Parameter, ...]]:
        all_of_them = parameters()
        return make(all_of_them[:1], all_of_them[1:], decay=0.1), all_of_them

    def test_from_a_file(self, tmp_path: Path) -> None:
        optimizer, expected = self.make()
        self.take_steps(optimizer, range(6))
        optimizer, came = self.make()
        self.take_steps(optimizer, range(3))
        torch.save(optimizer.state_dict(), tmp_path / "state.pt")
        optimizer = make(came[:1], came[1:])
        optimizer.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
        self.take_steps(optimizer, range(3, 6))
        for one, other in zip(came, expected, strict=True):
            assert torch.equal(one, other)

    def test_of_a_copy(self) -> None:
        optimizer, expected = self.make()
        self.take_steps(optimizer, range(3))
        other = copy.deepcopy(optimizer)
        self.take_steps(optimizer, range(3, 6))
        self.take_steps(other, range(3, 6))
        came = [p for group in other.param_groups for p in group["params"]]
        for one, two in zip(came, expected, strict=True):
            assert one is not two
            assert torch.equal(one, two)
