"""The verdicts on the papers' claims as tables: one row a claim and data set, and every comparison."""
from common.reproduce.claims import AHEAD, NEAR_TRUTH, RULE
from common.reproduce.grids import Grid
from common.reproduce.numbers import seeds_of


def text(found, parts, pages):
    """The Markdown of these parts: overview, summary, rule, comparisons. found: [Judgement]; pages: the way to
    docs/results/."""
    texts = {"overview": lambda: [overview(found, pages).markdown()],
             "summary": lambda: [summary(found, pages).markdown()], "rule": lambda: [RULE],
             "comparisons": lambda: [grid.markdown() for grid in comparisons(found)]}
    return "\n\n".join(text for part in parts for text in texts[part]())


def overview(found, pages):
    """The Grid of the papers' claims, a column for each data set: the verdict, how many comparisons hold, the seeds, and the
    numbers of the worst one."""
    found = [judgement for judgement in found if judgement.source.claim.of_paper]
    columns = {judgement.source.data: judgement.source.page for judgement in found}
    cells = {judgement.source.claim.text: {} for judgement in found}
    for judgement in found:
        cell, compared = judgement.verdict, judgement.comparisons
        if compared:
            held = f", {judgement.ahead} of {len(compared)}" * (len(compared) > 1)
            worst = _numbers(min(compared, key=lambda comparison: comparison.gain), judgement.source.claim)
            cell += f"{held} ({seeds_of([comparison.value for comparison in compared])}): {worst}"
        cells[judgement.source.claim.text][judgement.source.data] = cell
    return Grid("", ["claim", *(f"[{data}]({pages}{page})" for data, page in columns.items())],
                [[claim, *(of_claim.get(data, "") for data in columns)] for claim, of_claim in cells.items()])


def summary(found, pages=None):
    """The Grid of one row a claim of the papers and data set. Where pages is not None, names of pages are links."""
    rows = []
    for judgement in (judgement for judgement in found if judgement.source.claim.of_paper):
        source = judgement.source
        numbers = [number for comparison in judgement.comparisons for number in (comparison.value, comparison.rival_value)]
        link = source.page if pages is None else f"[{source.page.removesuffix('.md')}]({pages}{source.page})"
        command = f"reproduce.py {source.command}"
        rows.append([source.claim.text, source.data, judgement.verdict, our_numbers(judgement),
                     seeds_of(numbers) if numbers else "", link if not source.command else
                     command if pages is None else f"`{command}`"])
    return Grid("", ["claim", "data set", "verdict", "our numbers", "seeds", "command, or its page"], rows)


def our_numbers(judgement):
    """How many comparisons hold, the worst and the best of them, what is missing."""
    source, found = judgement.source, sorted(judgement.comparisons, key=lambda comparison: comparison.gain)
    texts = [_beside(found[0], source.claim)] if found else []
    if len(found) > 1:
        worst, best = texts[0], _beside(found[-1], source.claim)
        texts = [f"{judgement.ahead} of {len(found)} {source.claim.unit}", f"worst: {worst}", f"best: {best}"]
    if found and judgement.missing:
        texts.append(f"{judgement.missing} of {source.size} {source.claim.unit} not run")
    if judgement.stopped:
        texts.append(f"after {judgement.stopped}")
    if judgement.old:
        texts.append(f"{judgement.old} older runs do not count")
    return "; ".join(texts)


def _beside(comparison, claim):
    """One comparison: where, our number, the rival's."""
    where = ": ".join(filter(None, [comparison.cell, comparison.way and f"{comparison.way} on {comparison.rival}"]))
    numbers = _numbers(comparison, claim)
    return f"{where} ({numbers})" if where else numbers


def _numbers(comparison, claim):
    """Our number and the rival's."""
    rival = f"{claim.beside or comparison.rival} {_short(comparison.rival_value, claim)}"
    return f"{_short(comparison.value, claim)}, {rival}"


def _short(number, claim):
    digits, scale = (1, 100) if claim.percent else (2, 1)
    deviation = f" ± {scale * number.deviation:.{digits}f}" if number.seeds > 1 else ""
    return f"{scale * number.mean:.{digits}f}{deviation}"


def comparisons(found):
    """[Grid]: Max-MIG in every cell; for each claim of KD-Crowd its pairs."""
    grids = [_max_mig(found)]
    of_pairs = [judgement for judgement in found if judgement.source.claim.title]
    for claim in dict.fromkeys(judgement.source.claim for judgement in of_pairs):
        grids.append(_pairs(claim, [judgement for judgement in of_pairs if judgement.source.claim is claim]))
    return [grid for grid in grids if grid.rows]


def _max_mig(found):
    """The Grid of Max-MIG in every cell, beside its rival and the true labels."""
    near = {(judgement.source.data, comparison.cell): comparison for judgement in found
            if judgement.source.claim is NEAR_TRUTH for comparison in judgement.comparisons}
    rows, best = [], set()
    for judgement in found:
        for comparison in judgement.comparisons if judgement.source.claim is AHEAD else ():
            truth = near.get((judgement.source.data, comparison.cell))
            if comparison.ahead:
                best.add((len(rows), 1))
            rows.append([", ".join(filter(None, [judgement.source.data, comparison.cell])), _short(comparison.value, AHEAD),
                         f"{_short(comparison.rival_value, AHEAD)} ({comparison.rival})",
                         f"{100 * comparison.gain:+.1f} ± {100 * comparison.error:.1f}",
                         _short(truth.rival_value, AHEAD) if truth else "", str(comparison.value.seeds)])
    return Grid("Max-MIG, test accuracy (%)", [
        "", "max-mig", "rival", "difference ± its standard error", "true-label", "seeds"], rows, frozenset(best))


def _pairs(claim, found):
    """The Grid of a claim's pairs: a column for each crowd model, the mean alone and that of KD-Crowd."""
    models = list(dict.fromkeys(comparison.rival for judgement in found for comparison in judgement.comparisons))
    rows, best = {}, set()
    for judgement in found:
        for comparison in judgement.comparisons:
            name = ", ".join(filter(None, [judgement.source.data, comparison.cell, comparison.way]))
            row = rows.setdefault(name, [name, *[""] * len(models), ""])
            column = 1 + models.index(comparison.rival)
            rival, value = (f"{100 * n.mean:.1f}" if claim.percent else f"{n.mean:.2f}"
                            for n in (comparison.rival_value, comparison.value))
            row[column], row[-1] = f"{rival} → {value}", str(comparison.value.seeds)
            if comparison.ahead:
                best.add((list(rows).index(name), column))
    return Grid(claim.title, ["", *models, "seeds"], list(rows.values()), frozenset(best))
