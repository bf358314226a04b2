"""The paper's evaluation as a program for anybody's system: cases, systems, metrics, statistics, report.

cases/       what is asked: one line a case, and whether a case file is sound
benches/     readers that turn public data sets, or nothing at all (the miniature), into cases
systems/     who answers: a system turns a case into pictures in a folder
metrics/     how well: a metric reads pictures and cases, and gives one number a picture
statistics/  paired intervals over cases
report/      a page with pictures, tables, and a blind comparison by people
"""
