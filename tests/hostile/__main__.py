from hostile import table

print(table())
