from agedetect.cli import main

main(prog_name="agedetect")
