"""The three stages of KD-Crowd; all other methods are trained in stage 0."""
from dataclasses import replace
from functools import cache, partial

import torch

from common.crowd.bayes import LabelModel
from common.crowd.dawid_skene import dawid_skene
from common.crowd.labels import class_shares, vote_shares
from common.kd_crowd.registry import ROBUST
from common.methods.method import Constants, Distillation, Setting
from common.methods.registry import METHODS
from common.names import AUTO, STARTS, TEACHERS
from common.training.learner import Learner, random_seed
from common.training.predictions import predict_all


def build_stage(experiment, stage, earlier, starts):
    """[Learner] of a stage, for each fold. earlier: those of the stages before, [[Learner], ...]; starts: {method: [a start
    for each fold]}, of methods that do not have options.start.

    All classifiers of stage 0 start from the same weights in a fold. There is no learner where an earlier one failed.
    """
    learners, options, inputs = [], experiment.options, experiment.train.inputs
    for fold in experiment.plan.folds:
        setting_from = cache(partial(fold_setting, experiment, fold))
        key = ["fold", fold.number] if len(fold.train) < len(experiment.train) else []
        before = [{learner.name: learner for learner in stage_learners
                   if learner.fold == fold.number and not learner.failure} for stage_learners in earlier]
        for name in options.methods:
            torch.manual_seed(random_seed(options.seed, "weights", *([stage] if stage else []), *key))
            of_folds = starts.get(TEACHERS.get(name, name))
            start = of_folds[fold.number] if of_folds else STARTS[0] if options.start == AUTO else options.start
            method = build_method(name, stage, before, setting_from(start), inputs, options)
            if method:
                learners.append(Learner(name, stage, fold.number, method, experiment.protocol, experiment.device,
                                        experiment.executor))
    return learners


def fold_setting(experiment, fold, start):
    """The Setting of a fold's methods that start from `start`. The labels of held-out items are not in its crowd."""
    train, protocol, options = experiment.train, experiment.protocol, experiment.options
    crowd = train.crowd
    if len(fold.train) < len(train):
        trained = torch.zeros(len(train), dtype=torch.bool, device=experiment.device).index_fill(0, fold.train, True)
        crowd = crowd.keep(trained[crowd.item])
    constants = Constants(options.divergence, protocol.learn_prior, protocol.smoothing, protocol.crowd_layer_start,
                          protocol.em_epochs)
    start = start_posterior(start, replace(train, inputs=None, crowd=crowd))
    prior = torch.tensor(protocol.prior, device=experiment.device) if protocol.prior else class_shares(start)
    return Setting(lambda: protocol.classifier(experiment.precision), crowd, train.truth, prior, options.epochs,
                   train.inputs.batch(slice(0, 1)).numel(), constants, start=start, rate=protocol.classifier_rate)


def start_posterior(start, train):
    """float32 (N, C), zeros for items without labels: the posterior from which the models of the annotators start.

    start: one of names.STARTS; train: Items, of which each image's copies count once.
    """
    if start == "votes":
        return vote_shares(train.crowd)
    images = train.without_copies()
    if start == "dawid-skene":
        posterior = dawid_skene(images.crowd)
    else:
        labels = LabelModel(images.unique_labels().crowd, images.gold_array()).labels()
        posterior = torch.from_numpy(labels.posterior).float().to(images.truth.device)
    return (posterior * (images.crowd.counts > 0)[:, None]).repeat_interleave(train.copies, 0)


def build_method(name, stage, before, setting, inputs, options):
    """The Method that is trained for the method `name` in a stage, or None. before: [{name: Learner}] of the earlier stages.

    Stage 1: the robust student, which learns the predictions of its teacher in stage 0. Stage 2: the crowd model, which
    learns those of the student; it goes on from stage 0, or starts anew with options.retrain.
    """
    kind, teacher = METHODS[name], TEACHERS.get(name)
    if stage == 0:
        return None if teacher else kind(setting)
    source = before[0].get(teacher) if stage == 1 else before[1].get(name)
    if source is None:
        return None
    targets = predict_all([source], inputs)[0]
    setting = replace(setting, distillation=Distillation(targets, options.kd_loss, options.kd_weight,
                                                          options.lambda_u))
    if stage == 1:
        return ROBUST[options.robust](setting)
    method = kind(setting)
    if not options.retrain:
        method.load_state_dict(before[0][teacher].method.state_dict())
    return method
