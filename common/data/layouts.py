"""The layouts of answers that are known: which column names the task, the worker and the label, by tool.

A further tool with a table is a line in LAYOUTS; one with JSON is a function in common/data/exports.py.
"""
import os
import re
from dataclasses import dataclass
from fnmatch import fnmatchcase

from common.system.errors import UserError

# the items' names in any table
TASK = ("task", "item", "task_id", "item_id", "taskid", "itemid", "example", "question", "image", "file", "filename",
        "file_name", "image_id", "example_id", "question_id", "sample_id", "instance_id", "document_id", "doc_id",
        "text_id", "name", "id", "index")
# columns that hold the item itself, or say where it is
CONTENT = ("image", "image_url", "img", "picture", "photo", "file", "filename", "file_name", "path", "url", "audio",
           "audio_url", "video", "video_url", "image_id", "id", "text", "sentence", "document", "content", "question",
           "tweet")
WORKER = ("worker", "annotator", "worker_id", "annotator_id", "workerid", "annotatorid", "performer", "user", "user_id",
          "rater", "labeler", "labeller")
LABEL = ("label", "answer", "response", "class", "annotation", "given_label", "category")
# they count only where task, worker and label are all found: in a table with a column for each annotator, one may be
# called so
MORE_TASKS = ("unit", "unit_id", "unitid", "subject_id", "subject_ids", "object", "object_id", "case_id", "record",
              "record_id", "page_id", "clip", "segment", "tweet_id", *CONTENT, "stimulus", "stimulus_id", "subject",
              "case", "patient", "patient_id", "specimen", "page", "row")
# also, as the first column of a table with a column for each annotator
FIRST_TASKS = ("sample", "slide", "scan", "study", "no", "no.", "nr", "nr.", "number", "#")
MORE_WORKERS = ("coder", "coder_id", "rater_id", "user_name", "username", "judge", "judge_id", "reviewer", "reviewer_id",
                "turker", "contributor", "contributor_id", "participant", "participant_id", "respondent", "reader",
                "reader_id", "expert", "expert_id", "labeler_id", "labeller_id", "annotator_name", "worker_name",
                "completed_by", "annotated_by", "labeled_by", "labelled_by", "rated_by", "coded_by", "person", "who",
                "email", "email_address", "responseid", "prolific_id", "prolific_pid", "participant_private_id")
# the annotators where a column user may hold the authors
CODED = ("coder", "coder_id", "annotator_name", "annotated_by", "labeled_by", "labelled_by", "rated_by", "coded_by")
# the first column of a survey, whose other columns are questions
PERSONS = ("respondent_id", "respondent_#", "response_id", "student", "student_id")
MORE_LABELS = ("code", "rating", "score", "vote", "choice", "judgment", "judgement", "verdict", "diagnosis", "decision",
               "value", "result", "labels")
TRUTH = ("truth", "true_label", "ground_truth", "gold_label", "gold", "gold_standard", "gt")
STAMPS = ("timestamp", "time_stamp", "submitdate", "startdate", "start_date")  # the first column of surveys
# in a table with a column for each annotator: what is no annotator's
NOT_AN_ANNOTATOR = (*TRUTH, "clean_label", "majority", "majority_vote", "majority_label", "mv", "consensus",
                    "consensus_label", "adjudicated", "final", "final_label", "aggregated", "aggregated_label",
                    "aggre_label", "mean", "average", "median", "agreement", "adjudication", "expert_consensus",
                    "correct_answer", "batch", "fold", "split", "sex", "gender", "age", "confidence", "difficulty",
                    "comment", "comments", "note", "notes", "date", "time", "duration", *STAMPS)


ENDINGS = r"(\.(csv|tsv|tab|txt|json|jsonl|ndjson|xlsx|xls|ods|parquet|gz|zip))+$"  # of files of answers


@dataclass(frozen=True)
class Layout:
    """The table of a tool. It is known by its columns `signs`; `*` in a column's name stands for anything. A label `*` is
    each column that is not among `others`. left_out: (column, why, values) of the rows that do not count; no
    values: every row with something in the column. units: whether what the worker saw is in columns of any name, with one
    value for each id in the last column of `task`."""
    tool: str
    signs: tuple
    task: tuple
    worker: tuple
    label: tuple
    others: tuple = ()
    left_out: tuple = ()
    units: bool = False


LAYOUTS = (
    Layout("Toloka", ("assignment:worker_id",), ("input:*", "assignment:task_id"), ("assignment:worker_id",), ("output:*",),
           left_out=(("assignment:status", "assignments that are rejected, skipped or expired",
                      ("rejected", "skipped", "expired", "active")),)),
    Layout("Mechanical Turk", ("hitid", "workerid"), ("input.*", "hitid"), ("workerid",), ("answer.*",),
           left_out=(("assignmentstatus", "rejected assignments", ("rejected",)), ("reject", "rejected assignments", ()))),
    Layout("Appen", ("_unit_id", "_worker_id"), (*CONTENT, "_unit_id"), ("_worker_id",), ("*",),
           ("_*", "*_gold", "*_gold_reason", "*:confidence", "*_reason", "orig__*"),
           (("_tainted", "tainted judgments", ("true",)), ("_rejected", "rejected judgments", ())), units=True),
    Layout("Label Studio", ("annotation_id", "annotator"), (*CONTENT, "id"), ("annotator",), ("*",),
           ("id", "annotation_id", "annotator", "created_at", "updated_at", "lead_time", "file_upload", "agreement",
            "meta*")),
    Layout("PyBossa", ("task_run__task_id", "task_run__info"), ("task_run__task_id",), ("task_run__user_id",),
           ("task_run__info",)),
    Layout("PyBossa", ("project_id", "task_id", "user_id", "user_ip", "info", "finish_time"),
           ("task_id",), ("user_id",), ("info",)),
)


@dataclass(frozen=True)
class Survey:
    """The table of a survey's tool, with a row for each person. It is known by its columns `signs`. The person is in the
    first of `workers`, some of the signs, whose values all differ. `others` are no questions."""
    tool: str
    signs: tuple
    workers: tuple
    others: tuple


SURVEYS = (
    Survey("Qualtrics", ("responseid", "recordeddate"), ("responseid",),
           ("startdate", "enddate", "status", "ipaddress", "progress", "duration_(in_seconds)", "finished", "recordeddate",
            "recipient*", "externalreference", "locationlatitude", "locationlongitude", "distributionchannel",
            "userlanguage", "sc0", "*_do", "*_do_*",
            "*_first_click", "*_last_click", "*_page_submit", "*_click_count", "*_recaptchascore")),
    Survey("SurveyMonkey", ("respondent_id", "collector_id"), ("respondent_id",),
           ("collector_id", "date_created", "date_modified", "start_date", "end_date", "ip_address", "email_address",
            "first_name", "last_name", "custom_data_1")),
    Survey("LimeSurvey", ("id", "submitdate", "lastpage"), ("id",),
           ("submitdate", "lastpage", "startlanguage", "seed", "startdate", "datestamp", "ipaddr", "refurl", "token",
            "interviewtime", "grouptime*")),
    Survey("LimeSurvey", ("response_id", "date_submitted", "last_page"), ("response_id",),
           ("date_submitted", "last_page", "start_language", "seed", "date_started", "date_last_action", "ip_address",
            "referrer_url", "access_code", "total_time", "group_time:*", "question_time:*")),
    Survey("Microsoft Forms", ("id", "start_time", "completion_time", "email"), ("email", "id"),
           ("id", "start_time", "completion_time", "email", "name", "last_modified_time", "total_points",
            "quiz_feedback", "points_-_*", "feedback_-_*")),
    Survey("REDCap", ("record_id", "redcap_survey_identifier"), ("record_id",),
           ("redcap_*", "*_timestamp", "*_complete")),
)


@dataclass(frozen=True)
class Roles:
    """The names of the task's, the worker's and the label's column; worker None where there is none. left_out: ((column,
    why, values), ...) of the rows that do not count; inputs: further columns of what the worker saw; ids: the column that
    names the task where the task's does not, or None; units: as of the Layout; options: the columns, each true or false, of
    which the label is one.
    """
    task: str
    worker: str | None
    label: str
    tool: str = ""
    left_out: tuple = ()
    inputs: tuple = ()
    ids: str | None = None
    units: bool = False
    options: tuple = ()

    def describe(self):
        kind = f"{self.tool}'s table" if self.tool else "long table"
        return f"{kind}: task={self.task}, worker={self.worker or 'the file'}, label={self.label}"


def without_ending(name):
    """A file's name without the endings of tables and of compression."""
    return re.sub(ENDINGS, "", name, flags=re.IGNORECASE) or name


def key(column):
    """A column's name as the layouts have it: in small letters, without spaces."""
    return column.lower().replace(" ", "_")


def find_column(header, names):
    """The column that has one of the names, the earlier the better; None where there is none."""
    by_name = {key(column): column for column in reversed(header)}
    return next((by_name[name] for name in names if name in by_name), None)


def find_roles(file, header, several=False):
    """The Roles of a table with an answer in each row, None for one with a column for each annotator.

    several: the file is one of several, which may be one annotator's each. Raises UserError where a column is missing, or
    more than one may be the label.
    """
    names = {key(column) for column in header}
    for layout in LAYOUTS:
        if names.issuperset(layout.signs):
            return _roles_of(layout, file, header, several)
    sure = [find_column(header, names) for names in (TASK, WORKER, LABEL)]
    if sure[1] and key(sure[1]) in ("user", "user_id"):  # perhaps the author of a text
        sure[1] = find_column(header, CODED) or sure[1]
    label = sure[2] or find_column(header, MORE_LABELS)
    worker = sure[1] or find_column([name for name in header if name != label], MORE_WORKERS)
    task = sure[0] or find_column([name for name in header if name not in (label, worker)], MORE_TASKS)
    if task and worker and label:
        return Roles(task, worker, label)
    if several and task and label and (sure[2] or len(header) == 2):
        return Roles(task, None, label)
    in_rows = not task and not label and header and key(header[0]) in WORKER  # a row for each annotator
    if in_rows or not sure[1] and not sure[2]:
        return None
    missing = next(kind for kind, column in zip(("task", "worker", "label"), (task, worker, label), strict=True)
                   if column is None)
    more = "" if missing != "worker" or several else "; with a file for each annotator: --answers ann.csv bob.csv"
    raise UserError(f"{file}, line 1: columns {', '.join(header)}, none for the {missing}; expected "
                    f"task, worker and label, or their names in --columns TASK WORKER LABEL{more}")


def find_survey(header):
    """The Survey whose columns these are, or None. None also where the other columns include a label and a task or worker:
    a table with an answer in each row."""
    names = {key(column) for column in header}
    survey = next((survey for survey in SURVEYS if names.issuperset(survey.signs)), None)
    if survey is None:
        return None
    others = names - {*survey.signs, *matching(names, survey.others)}
    label, roles = others & {*LABEL, *MORE_LABELS}, others & {*TASK, *MORE_TASKS, *WORKER, *MORE_WORKERS}
    return None if label and roles - label else survey


def _roles_of(layout, file, header, several):
    task, worker = (next(iter(matching(header, names)), None) for names in (layout.task, layout.worker))
    if task is None:
        raise UserError(f"{file}: {layout.tool}'s table without a column for the task; expected one of "
                        f"{', '.join(layout.task[:4])}, or the names in --columns TASK WORKER LABEL")
    others = {task, worker, *matching(header, (*layout.others, *(name for name, *_ in layout.left_out)))}
    labels = [name for name in matching(header, layout.label) if name not in others]
    with_gold = [name for name in labels if f"{key(name)}_gold" in map(key, header)]
    labels = with_gold or labels
    question, options = os.path.commonprefix(labels).rpartition(".")[0], ()
    if len(labels) > 1 and "." in question:  # Answer.animal.cat, Answer.animal.dog
        labels, options = [question], tuple(labels)
    if len(labels) != 1:
        raise unclear_label(file, layout.tool, labels, task, worker, several)
    left_out = tuple((find_column(header, (name,)), why, values) for name, why, values in layout.left_out
                     if find_column(header, (name,)))
    inputs = tuple(matching(header, layout.task[:1])[1:]) if "*" in layout.task[0] else ()
    if layout.units:
        inputs = tuple(name for name in header if name not in {*others, *labels})
    return Roles(task, worker, labels[0], layout.tool, left_out, inputs,
                 find_column(header, layout.task[-1:]) if inputs else None, layout.units, options)


def unclear_label(file, tool, labels, task, worker, several=False):
    """The UserError for a tool's table in which several columns, `labels`, or none may be the label."""
    found = f"columns {', '.join(labels)} may each be the label" if labels else "there is no column for the label"
    each = f", or --columns {task} LABEL if each file is one annotator's" * several
    return UserError(f"{file}: {tool}'s table, where {found}; expected one, or the names in --columns {task} {worker} "
                     f"LABEL{each}")


def matching(header, patterns):
    """The columns that match a pattern, in the patterns' order; those of one pattern, CONTENT first."""
    found = []
    for pattern in patterns:
        columns = [name for name in header if fnmatchcase(key(name), pattern) and name not in found]
        ends = {name: re.split(r"[:.]", key(name), maxsplit=1)[-1] for name in columns}
        found += sorted(columns, key=lambda name: CONTENT.index(ends[name]) if ends[name] in CONTENT else len(CONTENT))
    return found
