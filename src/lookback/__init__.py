"""How far back does a sequence model remember, and can its explanation be believed?"""
