"""Fine-tuning: it learns, it is repeatable, and it leaves the encoder as it was."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from transferability.encoders.function import FunctionEncoder
from transferability.errors import EncoderError, LabelError
from transferability.pipeline import Settings, prepare
from transferability.scores.probing import probe as linear_probe
from transferability.validation import head
from transferability.validation.finetune import FineTuner
from transferability.validation.measure import data_identity
from transferability.validation.network_state import restored
from transferability.validation.schedule import walk
from transferability.validation.settings import FineTuning, Hyperparameters, TrainingResult

# Float32 on every CPU, so that what is asserted does not depend on its instructions.
QUICK = FineTuning(
    learning_rates=(1e-2,), weight_decays=(1e-4,), epochs=12, choice_epochs=1, batch_size=16, mixed_precision=False
)
CHOSEN = Hyperparameters(1e-2, 1e-4)


def tuner(encoder, part, settings=QUICK):
    return FineTuner(encoder, part.dataset, part.fit_rows, part.test_rows, settings)


@pytest.fixture
def hard(make_data):
    """Pictures that one random filter does not tell apart, and a trained one does."""
    return prepare(make_data(n=120, noise=0.6), Settings())


def test_it_learns_past_the_probe_that_it_begins_from(make_encoder, hard) -> None:
    encoder = make_encoder(width=1)
    still = tuner(encoder, hard).run(Hyperparameters(1e-12, 0.0, head="probe"), 0)
    tuned = tuner(encoder, hard).run(CHOSEN, 0)
    assert still.accuracy == still.probe_accuracy == tuned.probe_accuracy < 0.7
    assert tuned.accuracy > still.accuracy + 0.1
    assert tuned.loss < 0.8 * still.loss
    assert 1 <= tuned.epochs <= 12
    assert tuned.note == ""


def test_the_head_is_the_probe_of_the_frozen_features(make_encoder, hard) -> None:
    encoder = make_encoder(width=8)
    still = tuner(encoder, hard).run(Hyperparameters(1e-12, 0.0), 0)
    features = encoder.encode(hard.dataset.items(range(len(hard.dataset))))
    labels = hard.dataset.labels
    probe = linear_probe(
        features[hard.fit_rows], labels[hard.fit_rows], features[hard.test_rows], labels[hard.test_rows]
    )
    assert abs(still.probe_accuracy - probe.accuracy) <= 0.1  # of fewer rows, and another ridge


def test_what_does_not_beat_its_start_is_the_start_and_says_so(make_encoder, make_data) -> None:
    noise = prepare(make_data(n=60, noise=20.0), Settings())  # nothing to be learned
    found = tuner(make_encoder(), noise).run(Hyperparameters(3.0, 0.0), 0)
    assert found.epochs == 0
    assert found.accuracy == found.probe_accuracy
    assert found.note.startswith("no epoch of fine-tuning was better on the validation rows than the linear probe")


def test_the_validation_rows_alone_decide_between_the_probe_and_an_epoch(make_encoder, hard) -> None:
    tuned = tuner(make_encoder(width=1), hard)
    for validation, test in ((1.0, 0.0), (0.0, 1.0)):
        tuned._start = tuned._start._replace(validation_accuracy=validation, accuracy=test, loss=1e-9)
        assert (tuned.run(CHOSEN, 1, epochs=3).epochs > 0) == (validation < 1)


def test_an_accuracy_below_the_probe_is_told() -> None:
    assert TrainingResult(0.7, 1.0, 0.8, 3, probe_accuracy=0.75).note == (
        "fine-tuning ended at 70.0 %, below the linear probe of the frozen features, 75.0 %."
    )
    assert TrainingResult(0.7, 1.0, 0.8, 3, probe_accuracy=0.7).note == ""
    assert TrainingResult(0.7, 1.0, 0.8, 3).note == ""  # a probe


@pytest.mark.parametrize(("best", "chosen"), [(3e-4, 3e-4), (3e-6, 3e-6), (3e-2, 3e-2), (1e-12, 3e-8), (1e3, 3.0)])
def test_learning_rates_go_on_where_their_end_wins(best, chosen) -> None:
    asked = []

    def loss(rate: float) -> float:
        asked.append(rate)
        return abs(np.log(rate / best))

    np.testing.assert_allclose(walk(loss, (3e-5, 3e-4, 3e-3)), chosen)
    assert len(asked) == len(set(asked)) <= 3 + 3


def test_losses_that_are_not_finite_lead_to_smaller_rates() -> None:
    assert walk(lambda rate: rate if rate < 1e-5 else np.inf, (3e-5, 3e-4, 3e-3)) == pytest.approx(3e-8)


def test_augmentation_changes_training_and_nothing_else(make_encoder, hard) -> None:
    plain, moved = (
        tuner(make_encoder(width=1), hard, replace(QUICK, augmentation=each)).run(CHOSEN, 0) for each in (False, True)
    )
    assert plain.probe_accuracy == moved.probe_accuracy
    assert plain.loss != moved.loss


def test_same_seed_same_numbers_whatever_was_done_before_and_the_encoder_is_left_as_it_was(make_encoder, part) -> None:
    encoder = make_encoder()
    before = {name: each.clone() for name, each in encoder.module.state_dict().items()}
    features = encoder.encode(part.dataset.items(range(3)))
    first = tuner(encoder, part)
    found = [first.run(CHOSEN, 1), first.run(CHOSEN, 2), first.run(CHOSEN, 1)]
    assert found[0] == found[2]
    assert found[0] != found[1]
    assert tuner(make_encoder(), part).run(CHOSEN, 1) == found[0]
    assert all(torch.equal(each, before[name]) for name, each in encoder.module.state_dict().items())
    assert not encoder.module.training
    np.testing.assert_array_equal(encoder.encode(part.dataset.items(range(3))), features)


def test_train_leaves_the_new_weights_in_the_encoder(make_encoder, part) -> None:
    encoder = make_encoder()
    features = encoder.encode(part.dataset.items(range(3)))
    kept = tuner(encoder, part).train(CHOSEN, 0)
    assert kept == tuner(make_encoder(), part).run(CHOSEN, 0)
    assert not np.allclose(encoder.encode(part.dataset.items(range(3))), features)


def test_other_settings_are_as_a_tuner_of_their_own_and_read_no_picture_again(make_encoder, part, monkeypatch) -> None:
    half = replace(QUICK, validation_share=0.5)
    first = tuner(make_encoder(), part)
    before = first.run(CHOSEN, 1)
    wanted = tuner(make_encoder(), part, half).run(CHOSEN, 1)
    monkeypatch.setattr(type(first._items), "_decoded", lambda _self: pytest.fail("pictures are read again"))
    assert first.with_settings(half).run(CHOSEN, 1) == wanted != before
    assert first.run(CHOSEN, 1) == before


def test_the_head_is_fitted_on_one_thread(monkeypatch) -> None:
    limits = []
    solve = head.fit_softmax_regression

    def watched(*inputs, **options):
        limits.extend(each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas")
        return solve(*inputs, **options)

    monkeypatch.setattr(head, "fit_softmax_regression", watched)
    rows = np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32)
    with threadpool_limits(2, user_api="blas"):
        head.fit_head(rows[:30], np.arange(30) % 2, rows[30:], np.arange(10) % 2, 2)
    assert set(limits) == {1}


def test_a_head_begins_fresh_or_as_the_probe(make_encoder, hard) -> None:
    slow, seen = Hyperparameters(1e-12, 0.0), []
    first = tuner(make_encoder(), hard, QUICK)
    first._evaluate = lambda *inputs: seen.append(FineTuner._evaluate(first, *inputs)) or seen[-1]
    first.run(slow, 0, epochs=1)
    first.run(replace(slow, head="probe"), 0, epochs=1)
    losses = [loss for loss, _ in seen]
    assert losses[0] == pytest.approx(np.log(2), abs=1e-6)  # after an epoch: of two classes, nothing known
    assert losses[3] == pytest.approx(first._start.loss, abs=1e-4)


def test_a_fresh_head_learns_faster_by_its_factor_and_a_probe_does_not(make_encoder, hard) -> None:
    runs = {
        (start, factor): tuner(make_encoder(), hard, replace(QUICK, head_factor=factor)).run(
            replace(CHOSEN, head=start), 0, epochs=2
        )
        for start in ("fresh", "probe")
        for factor in (1.0, 10.0)
    }
    assert runs["fresh", 1.0] != runs["fresh", 10.0]
    assert runs["probe", 1.0] == runs["probe", 10.0]


def test_the_better_beginning_is_chosen(make_encoder, hard) -> None:
    losses, short = {}, replace(QUICK, epochs=2, frozen_norms=(False,))
    for start in ("fresh", "probe"):
        alone = tuner(make_encoder(), hard, replace(short, head_starts=(start,)))
        losses[start] = alone._train(alone.choose(), 0, 2).loss
    both = tuner(make_encoder(), hard, short)
    assert both.choose().head == min(losses, key=losses.get)
    assert losses["fresh"] != losses["probe"]


def test_rates_are_tried_for_each_beginning_for_fifty_steps_or_all_epochs(make_encoder, part) -> None:
    tried = []
    grid = replace(QUICK, learning_rates=(1e-3, 1e-2, 1e-1), frozen_norms=(True, False))

    def watched(settings):
        each = tuner(make_encoder(), part, settings)
        train = each._train
        each._train = lambda chosen, seed, epochs: tried.append((chosen, epochs)) or train(chosen, seed, epochs)
        each.choose()
        return {(chosen.learning_rate, chosen.head) for chosen, _ in tried}, {epochs for _, epochs in tried}

    of, epochs = watched(grid)
    assert {(rate, head) for rate in grid.learning_rates for head in ("fresh", "probe")} <= of
    assert epochs == {12}  # of three steps each
    tried.clear()
    assert watched(replace(grid, epochs=40))[1] == {17}
    assert {chosen.frozen_norm for chosen, _ in tried} == {True, False}


def test_rates_that_teach_nothing_are_not_chosen(make_encoder, part) -> None:
    settings = FineTuning(learning_rates=(1e-9, 1e-2), weight_decays=(1e-4,), choice_epochs=4, batch_size=16)
    assert tuner(make_encoder(), part, settings).choose().learning_rate == 1e-2


def test_a_run_ends_where_its_loss_is_not_finite_and_keeps_what_was_before(make_encoder, hard, monkeypatch) -> None:
    encoder, passes = make_encoder(width=1), []
    tuned, compute = tuner(encoder, hard), encoder.differentiable
    three_epochs = 3 * -(-len(tuned._parts.train) // QUICK.batch_size)
    monkeypatch.setattr(
        encoder, "differentiable", lambda batch: compute(batch) * (1.0 if len(passes) < three_epochs else torch.nan)
    )
    tuned._start  # noqa: B018 - measured before passes count
    encoder.module.register_forward_hook(lambda module, *_: passes.append(1) if module.training else None)
    found = tuned._train(CHOSEN, 1, 12)
    assert len(passes) == three_epochs
    assert 1 <= found.epochs <= 2
    assert np.isfinite(found.loss)


def test_an_encoder_whose_features_overflow_is_refused(make_encoder, part, monkeypatch) -> None:
    encoder = make_encoder()
    monkeypatch.setattr(
        encoder, "differentiable", lambda batch: torch.full((len(batch), 4), torch.inf, requires_grad=True)
    )
    settings = FineTuning(choice_epochs=1)
    with pytest.raises(EncoderError, match="its features are not finite"):
        tuner(encoder, part, settings).choose()


def test_an_encoder_whose_training_overflows_is_refused(make_encoder, part, monkeypatch) -> None:
    encoder = make_encoder()
    compute = encoder.differentiable

    def overflow(batch):
        return compute(batch) * (torch.inf if encoder.module.training else 1.0)

    monkeypatch.setattr(encoder, "differentiable", overflow)
    with pytest.raises(EncoderError, match=r"not finite at any of the learning rates 1e-08, .*, 0\.001\. Take smaller"):
        tuner(encoder, part, FineTuning(choice_epochs=1)).choose()


def test_what_does_not_run_in_torch_is_told_to_be_probed(part) -> None:
    encoder = FunctionEncoder("mean", lambda items: np.stack([np.asarray(each).mean((0, 1)) for each in items]))
    with pytest.raises(EncoderError, match="Take method 'probe'"):
        tuner(encoder, part)


def test_data_without_labels_are_refused(make_encoder, make_data) -> None:
    rows = np.arange(80)
    with pytest.raises(LabelError, match="must have labels to be trained on"):
        FineTuner(make_encoder(), make_data(labelled=False), rows[:50], rows[50:])


def test_frozen_normalisation_keeps_its_statistics_and_follows_else(make_encoder, part) -> None:
    for frozen in (True, False):
        encoder = make_encoder()
        encoder.module[1].momentum = 0.01
        encoder.module[1].running_mean += 0.01  # it saw data
        mean = encoder.module[1].running_mean.clone()
        tuner(encoder, part).train(Hyperparameters(1e-2, 1e-4, frozen), 0)
        assert torch.equal(encoder.module[1].running_mean, mean) == frozen
    restored = make_encoder()
    restored.module[1].momentum = 0.01
    tuner(restored, part).run(CHOSEN, 0)
    assert restored.module[1].momentum == 0.01


def test_copies_validate_or_are_trained_on_together(make_encoder, make_data) -> None:
    """Each picture three times: none of those that choose rate, epoch and probe was trained on."""
    once = make_data(n=40)
    data = once.subset(np.repeat(np.arange(40), 3))
    part = prepare(data, Settings())
    for groups in (None, part.groups):
        tuned = FineTuner(make_encoder(), data, part.fit_rows, part.test_rows, QUICK, groups=groups)
        rows = tuned._parts
        assert not set(rows.train // 3) & set(rows.validation // 3)
        assert len(rows.train) + len(rows.validation) == len(part.fit_rows)
    assert data_identity(part) != data_identity(part._replace(groups=None))


@pytest.mark.parametrize("how", ["frozen", "no_grad"])
def test_an_encoder_that_no_gradient_reaches_is_not_called_fine_tuned(how, make_encoder, part, monkeypatch) -> None:
    encoder = make_encoder()
    if how == "frozen":
        encoder.module.requires_grad_(False)
    else:
        monkeypatch.setattr(type(encoder), "differentiable", torch.no_grad()(type(encoder).differentiable))
    with pytest.raises(EncoderError, match="no gradient reaches its weights"):
        tuner(encoder, part).run(CHOSEN, 0)


def test_buffers_that_no_file_keeps_are_put_back_too() -> None:
    network = torch.nn.Module()
    network.register_buffer("seen", torch.zeros(1), persistent=False)
    with restored(network):
        network.seen += 3.0
    assert network.seen.item() == 0
