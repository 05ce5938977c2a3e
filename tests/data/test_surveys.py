"""Tables with a row for each person: those of the surveys' tools, and others by --questions."""
import pandas as pd
import pytest

from common.data.answers import read_answers
from common.system.errors import UserError
from OwnData import aggregate
from test_layouts import triples

IMPORT_ID = '"{""ImportId"":""x""}"'
ANSWERS = [("p1", ("cat", "dog", "cat")), ("p2", ("dog", "dog", "")), ("p3", ("cat", "dog", "dog"))]


def survey(write, header, before, after="", second="", questions=("Q1", "Q2", "Q3")):
    """A survey's table: `before` and `after` have the cells beside the answers; second: lines below the header."""
    rows = [",".join((before.format(p=person), *answers)) + after for person, answers in ANSWERS]
    return write("\n".join([header, *([second] if second else []), *rows]) + "\n")


def expected(questions):
    return sorted((question, person, label) for person, answers in ANSWERS
                  for question, label in zip(questions, answers, strict=True) if label)


@pytest.mark.parametrize(("header", "before", "after", "second"), [
    ("StartDate,Status,Finished,RecordedDate,ResponseId,UserLanguage,{q},PROLIFIC_PID,Q1_First Click",
     "now,IP Address,True,now,{p},EN", ",abc,7.5",
     "Start Date,Response Type,Finished,Recorded Date,Response ID,User Language,A?,B?,C?,PROLIFIC_PID,First\n"
     + ",".join([IMPORT_ID] * 11)),
    ("Respondent ID,Collector ID,Start Date,IP Address,{q}", "{p},9,now,1.1.1.1", "", ",,,,Response,Response,Response"),
    ("id,submitdate,lastpage,startlanguage,seed,{q},interviewtime", "{p},now,3,en,77", ",12.5", ""),
    ("Response ID,Date submitted,Last page,Seed,{q}", "{p},now,3,77", "", ""),
    ("ID,Start time,Completion time,Email,Name,{q}", "7,now,now,{p},", "", ""),
    ("ID,Start time,Completion time,Email,Name,{q}", "{p},now,now,anonymous,", "", ""),
    ("record_id,redcap_survey_identifier,form_timestamp,{q},form_complete", "{p},,now", ",2", ""),
])
def test_tables_of_surveys(write, capsys, header, before, after, second):
    questions = ("Q1", "Q2", "Q3")
    file = survey(write, header.format(q=",".join(questions)), before, after, second)
    read = read_answers(file)
    assert triples(read) == expected(questions) and read.classes == ["cat", "dog"]
    said = capsys.readouterr().out
    assert "columns that are no questions are left out: " in said
    assert "taken as a row for each of 3 annotators and a column for each of 3 items" in said


def test_a_condition_of_a_survey_is_no_question(write):
    file = survey(write, "id,submitdate,lastpage,group,Q1,Q2,Q3", "{p},now,3,a")
    assert triples(read_answers(file, where=["group=a"])) == expected(("Q1", "Q2", "Q3"))


@pytest.mark.parametrize("header", [
    "id,task,worker,label,start time,completion time,email", "id,image,worker,rating,submitdate,lastpage,seed",
    "n,item,responseid,rating,recordeddate,a,b", "record_id,image,rater,score,redcap_survey_identifier,a,b",
    "id,task_id,user_id,label,project_id,info,b"])
def test_a_long_table_with_the_columns_of_a_tool_is_no_survey(write, header):
    task = header.split(",")[1]
    rows = "1,{a},w1,x,1,2,q\n2,{a},w2,y,1,2,q\n3,{b},w1,y,1,2,q\n".format(a="a" + task, b="b" + task)
    assert triples(read_answers(write(f"{header}\n{rows}"))) == [
        (f"a{task}", "w1", "x"), (f"a{task}", "w2", "y"), (f"b{task}", "w1", "y")]


def test_parts_of_a_question_are_named_by_the_second_line(write):
    file = write("Respondent ID,Collector ID,Rate,,,Which?\n,,A,B,C,Response\n7,1,x,y,x,y\n8,1,x,x,x,y\n")
    assert triples(read_answers(file)) == sorted(
        (item, person, label) for person, answers in (("7", "xyxy"), ("8", "xxxy"))
        for item, label in zip(("Rate [A]", "Rate [B]", "Rate [C]", "Which?"), answers, strict=True))


def test_people_without_an_address_are_numbered(write):
    file = write("ID,Start time,Completion time,Email,Q1,Q2\n1,a,b,p1,x,y\n2,a,b,,x,y\n3,a,b,p3,y,y\n")
    assert read_answers(file).annotators == ["1", "2", "3"]


def test_a_second_line_of_qualtrics_alone_is_nobody(write):
    file = write("ResponseId,RecordedDate,Q1,Q2\nResponse ID,Recorded Date,a?,b?\nR_1,now,x,y\nR_2,now,y,y\n")
    assert read_answers(file).annotators == ["R_1", "R_2"] and read_answers(file).classes == ["x", "y"]


def test_columns_that_are_no_questions_are_said(write, capsys):
    file = write("ResponseId,RecordedDate,Consent,Q1,Q2,Q1_DO_1\nR_1,now,I agree,x,y,1\nR_2,now,I agree,y,y,2\n")
    read_answers(file)
    assert "no answer in 'Consent' is in another column; if these are no questions" in capsys.readouterr().out
    read_answers(file, questions=["Q*"], classes=["x", "y", "1", "2"])
    assert "no answer in" not in capsys.readouterr().out


def test_the_worker_of_questions(write):
    """The survey's own by default; else the first column, if its values differ."""
    file = write("StartDate,ResponseId,RecordedDate,Q1,Q2\nnow,R_1,now,x,y\nnow,R_2,now,y,y\n")
    assert read_answers(file, questions=["Q1", "Q2"]).annotators == ["R_1", "R_2"]
    file = write("group,code,Q1,Q2\na,p1,x,y\na,p2,y,y\n")
    with pytest.raises(UserError, match="--questions Q1 Q2: a value of 'group' comes twice; expected the annotators'"):
        read_answers(file, questions=["Q1", "Q2"])
    assert read_answers(file, columns=["code"], questions=["Q*", "Q1"][:1]).annotators == ["p1", "p2"]
    with pytest.raises(UserError, match="--questions Q\\* Q1: a column twice"):
        read_answers(file, columns=["code"], questions=["Q*", "Q1"])
    arrays = write("code,G1[SQ1],G1[SQ2],r?\np1,x,y,x\np2,y,y,y\n")
    assert read_answers(arrays, questions=["G1[SQ*]"]).items == ["G1[SQ1]", "G1[SQ2]"]
    assert read_answers(arrays, questions=["r?", "G1[SQ1]"]).items == ["r?", "G1[SQ1]"]


def test_a_survey_without_questions(write):
    with pytest.raises(UserError, match="a table of LimeSurvey without questions; expected a column for each"):
        read_answers(write("id,submitdate,lastpage\n1,now,3\n"))


def test_questions_are_named(write, capsys):
    file = survey(write, "code,group,a 1,a 2,b", "{p},x")
    rows = read_answers(file, questions=["a 1", "a 2", "b"])
    assert triples(rows) == expected(("a 1", "a 2", "b"))
    assert rows.layout == "a row for each annotator: worker=code, a 1, a 2, b"
    assert triples(read_answers(file, columns=["code"], questions=["a*"])) == [
        answer for answer in expected(("a 1", "a 2", "b")) if answer[0] != "b"]
    frame = pd.read_csv(file)
    assert set(aggregate(frame, columns=["code"], questions=["a*", "b"]).labels["item"]) == {"a 1", "a 2", "b"}
    for message, columns, questions in ((r"--questions z\*: .* has no column 'z\*'; it has code, group", None, ["z*"]),
                                        ("--questions code: 'code' names the annotators; expected", None, ["code"]),
                                        ("expected the annotators' column alone in --columns", ["code", "b"], ["a*"])):
        with pytest.raises(UserError, match=message):
            read_answers(file, columns=columns, questions=questions)
    with pytest.raises(UserError, match="--annotators b and --questions b: the columns are one or the other"):
        read_answers(file, annotators=["b"], questions=["b"])


def test_patterns_name_annotators(write):
    file = write("image,r1_label,r1_note,r2_label,r2_note\na,cat,x,dog,y\nb,dog,,dog,\n")
    assert triples(read_answers(file, columns=["image"], annotators=["r*_label"])) == [
        ("a", "r1_label", "cat"), ("a", "r2_label", "dog"), ("b", "r1_label", "dog"), ("b", "r2_label", "dog")]


def test_lines_below_qualtrics_header_are_no_answers(write):
    file = write(f"who,Q1,Q2\nname,a?,b?\n{','.join([IMPORT_ID] * 3)}\np1,x,y\np2,y,y\n")
    found = [("Q1", "p1", "x"), ("Q1", "p2", "y"), ("Q2", "p1", "y"), ("Q2", "p2", "y")]
    assert triples(read_answers(file)) == triples(read_answers(file, questions=["Q*"])) == found


def test_rows_that_look_like_people_are_said(write, capsys):
    """Columns in which most people say the same, and rows in which they do not."""
    rows = [(f"{person}", *("cat", "dog", "owl", "cat")) for person in range(6)]
    file = write("id,P1,P2,P3,P4\n" + "".join(",".join(row) + "\n" for row in rows) + "6,owl,dog,owl,dog\n")
    read_answers(file)
    said = capsys.readouterr().out
    assert "equal in 86%, two in a row in 19%; perhaps each row has one person's answers: --columns id --questions" in said
    read_answers(write("id,ann,bob\n" + "".join(f"{k},{label},{label}\n" for k, label in enumerate("abcabc"))))
    assert "one person's answers" not in capsys.readouterr().out


def test_workbooks_with_a_title_are_refused(tmp_path):
    pytest.importorskip("openpyxl")
    rows = [["Ratings", None, None], ["task", "ann", "bob"], ["a", "cat", "dog"], ["b", "dog", "dog"]]
    pd.DataFrame(rows).to_excel(tmp_path / "table.xlsx", header=False, index=False)
    with pytest.raises(UserError, match="line 1: nothing above column 2"):
        read_answers(str(tmp_path / "table.xlsx"))


@pytest.mark.parametrize(("rows", "refused"), [
    ("a,3,1,0\nb,0,4,0\nc,0,0,3\nd,1,2,1\ne,4,0,0\nf,0,3,0\ng,2,1,0\nh,0,1,3\n", True),
    ("a,3,2,3\nb,0,0,1\nc,0,0,3\nd,1,2,1\ne,4,4,4\nf,0,0,0\ng,2,1,2\nh,3,3,3\n", False)])
def test_counts_of_votes_with_other_sums(write, rows, refused):
    file = write(f"image,bird,cat,dog\n{rows}")
    if refused:
        with pytest.raises(UserError, match="each row add up to 3 to 4, so the columns bird, cat, dog seem to be classes"):
            read_answers(file)
    else:
        assert len(read_answers(file).annotators) == 3


@pytest.mark.parametrize("missing", ["*", "-99", "99"])
def test_codes_of_missing_answers_are_said(write, capsys, missing):
    read_answers(write(f"task,ann,bob\na,1,2\nb,2,2\nc,1,{missing}\nd,{missing},1\n"))
    assert f"{missing!r} is a class, of 2 answers; if it is none, leave the cells empty" in capsys.readouterr().out


def test_a_row_without_a_worker_can_be_left_out(write):
    file = write("task,worker,label\na,w1,x\na,w2,y\na,,x\nb,w1,y\n")
    with pytest.raises(UserError, match="line 4: nothing in column 'worker'.*, or --where 'worker!=' to leave such"):
        read_answers(file)
    assert len(read_answers(file, where=["worker!="])) == 3


def test_triples_without_a_header_are_named_in_both_orders(write):
    """Coder, item and label, as nltk's AnnotationTask has them: there are more items than coders."""
    file = write("".join(f"c{m}\ti{k}\t{'xy'[(m * k) % 2]}\n" for m in range(3) for k in range(8)))
    with pytest.raises(UserError, match="expected them named: --no-header --columns 2 1 3, or"):
        read_answers(file, no_header=True)
    assert len(read_answers(file, columns=["2", "1", "3"], no_header=True).items) == 8


def test_questions_of_one_name_are_refused(write):
    file = write("Respondent ID,Collector ID,Rate,,Rate\n,,A,B,A\n" + "".join(f"{k},1,x,y,x\n" for k in range(3)))
    with pytest.raises(UserError, match="two .* are named 'Rate"):
        read_answers(file)


def test_tables_without_an_answer(write):
    for header in ("task,k,", "id,submitdate,lastpage,Q1", "ResponseId,RecordedDate,Q1"):
        with pytest.raises(UserError, match="no answers; expected at least two annotators"):
            read_answers(write(header + "\n"))
